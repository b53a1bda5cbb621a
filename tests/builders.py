"""Real inputs for tests: German credit columns, fitted pipelines, signed packages, a trust root.

Packages are built once per process and recipe and copied from there, so a test that needs one pays
a copy. Every one of them went through the same gate as in production.
"""

import atexit
import csv
import shutil
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from compiler.identity import Roster, Trust, roster_key, sign_roster
from compiler.models.build import build_package
from compiler.models.matrix import to_matrix
from compiler.models.pipeline import make_pipeline
from compiler.models.recipe import Recipe
from compiler.package import sign_package
from compiler.schema import Feature, FeatureMap, OutputSchema
from compiler.signing import KeyPair

GERMAN_CREDIT = Path(__file__).parents[1] / "interlock" / "data" / "german_credit.csv"
TARGET = "creditability"
PROTECTED = ("personal_status_and_sex", "age_in_years", "foreign_worker")
OUTPUT = OutputSchema("classification", ("bad", "good"))
NOW = datetime(2026, 3, 1, tzinfo=UTC)
EXPIRES = "2036-01-01T00:00:00Z"
BUILDER_PERSON = "worker"
CONTRIBUTOR = "dana@bank.example"
APPROVER_PERSON = "mia@bank.example"
RELEASER_PERSON = "control-plane"
SMALL = {
    "gradient_boosting": {"n_estimators": 20},
    "hist_gradient_boosting": {"max_iter": 20},
    "random_forest": {"n_estimators": 10, "max_depth": 6},
    "extra_trees": {"n_estimators": 10, "max_depth": 6},
}


class Keys(NamedTuple):
    """Deterministic keys of one pretend bank: root, builder, approver, releaser, ledger."""

    root: KeyPair
    builder: KeyPair
    approver: KeyPair
    releaser: KeyPair
    ledger: KeyPair


class Signed(NamedTuple):
    """A signed package with the trust that accepts it."""

    folder: Path
    digest: str
    trust: Trust
    keys: Keys


@cache
def keys() -> Keys:
    return Keys(*(KeyPair(bytes([number]) * 32) for number in range(1, 6)))


@cache
def roster_envelope() -> bytes:
    known = keys()
    roster = Roster(
        1,
        EXPIRES,
        (
            roster_key(known.builder.public, BUILDER_PERSON, "builder"),
            roster_key(known.approver.public, APPROVER_PERSON, "approver"),
            roster_key(known.releaser.public, RELEASER_PERSON, "releaser"),
            roster_key(known.ledger.public, "shipper", "ledger"),
        ),
    )
    return sign_roster(roster, known.root)


@cache
def trust() -> Trust:
    return Trust.from_roster(roster_envelope(), keys().root.public, now=NOW)


@cache
def german_credit() -> tuple[FeatureMap, dict[str, list[Any]], np.ndarray]:
    """Schema, columns and targets (``good``/``bad``) of the 1000 applications."""
    with GERMAN_CREDIT.open(newline="") as file:
        rows = list(csv.DictReader(file))
    features: FeatureMap = {}
    columns: dict[str, list[Any]] = {}
    for name in rows[0]:
        if name == TARGET:
            continue
        words = [row[name] for row in rows]
        protected = name in PROTECTED
        if all(word.isdigit() for word in words):
            features[name] = Feature("int", protected=protected)
            columns[name] = [int(word) for word in words]
        else:
            values = tuple(sorted(set(words)))
            features[name] = Feature("enum", values=values, protected=protected)
            columns[name] = words
    return features, columns, np.asarray([row[TARGET] for row in rows])


def applicant(index: int, *, model_only: bool = False) -> dict[str, Any]:
    """One application as a JSON object would carry it."""
    features, columns, _ = german_credit()
    return {
        name: columns[name][index]
        for name, feature in features.items()
        if not (model_only and feature.protected)
    }


def request_struct(features: FeatureMap) -> type:
    """A decoded request's type: one attribute per feature, as the data plane makes it."""
    kinds = {"int": int, "float": float, "float32": float, "bool": bool}
    fields = []
    for name, feature in features.items():
        kind = kinds.get(feature.type, Any if feature.type not in ("string", "enum") else str)
        fields.append((name, kind | None, None) if feature.nullable else (name, kind))
    return msgspec.defstruct("Request", fields, kw_only=True)


@cache
def fitted(estimator: str = "logistic_regression", params: str = "") -> tuple[Recipe, Any]:
    """A recipe and its pipeline, fitted on all German credit rows."""
    features, columns, target = german_credit()
    given = msgspec.json.decode(params) if params else SMALL.get(estimator, {})
    recipe = Recipe("classification", estimator, given, seed=7)
    matrix = to_matrix(columns, features)
    with threadpool_limits(1):  # small fits: more threads only wait for each other
        return recipe, make_pipeline(recipe, features).fit(matrix, target)


@cache
def _cached(estimator: str, name: str, version: int) -> tuple[Path, str]:
    features, columns, target = german_credit()
    recipe, pipeline = fitted(estimator)
    root = Path(tempfile.mkdtemp(prefix="interlock-test-packages-"))
    _made.append(root)
    info = build_package(
        pipeline,
        to_matrix(columns, features),
        target,
        features=features,
        output=OUTPUT,
        name=name,
        version=version,
        recipe=recipe,
        lineage={"dataset": "sha256:" + "0" * 64},
        contributors=(CONTRIBUTOR,),
        metrics={"auc": 0.79},
        out_dir=root,
        positive="good",
    )
    sign_package(info.path, keys().builder)
    return info.path, info.digest


_made: list[Path] = []


def clean_up() -> None:
    """Remove the cached packages of this process."""
    _cached.cache_clear()
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)


def signed_package(
    tmp_path: Path,
    *,
    estimator: str = "logistic_regression",
    name: str = "quick_approval",
    version: int = 1,
) -> Signed:
    """A signed package of its own in ``tmp_path/packages/<hex>``, free to be damaged."""
    source, digest = _cached(estimator, name, version)
    folder = tmp_path / "packages" / source.name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, folder)
    return Signed(folder, digest, trust(), keys())


atexit.register(clean_up)
