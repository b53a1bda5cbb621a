"""The lending endpoint as a router's disk holds it, built without database or control plane.

Three models are trained on the German credit data, packaged and signed; a release with a nested
rule table and a decision table is approved by a second key; everything is written where a router
worker finds it at start. All keys are made here and belong to this folder alone.
"""

from __future__ import annotations

import csv
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from compiler.identity import Roster, roster_key, sign_roster
from compiler.schema import Feature, FeatureMap, OutputSchema
from compiler.signing import KeyPair, b64, sign
from compiler.statements import (
    MODEL_APPROVAL,
    RELEASE,
    RELEASE_APPROVAL,
    ModelApproval,
    ReleaseApproval,
    ReleaseStatement,
    encode_statement,
    format_time,
)
from loadtest.errors import LoadTestError
from router.keys import KeyRow
from router.release.disk import write_snapshot
from router.release.spec import ModelRef, Policies, ReleaseBundle, ReleaseContent, canonical, digest

ENDPOINT = "credit"
TARGET = "creditability"
PROTECTED = ("personal_status_and_sex", "age_in_years", "foreign_worker")
TRAINER, APPROVER, MACHINE = "trainer@bench.example", "approver@bench.example", "bench"
OUTPUT = OutputSchema("classification", ("bad", "good"))
SEED = 7

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "quick_approval": ("logistic_regression", {"C": 0.5}),
    "standard_underwriting": (
        "gradient_boosting",
        {"n_estimators": 100, "max_depth": 3, "learning_rate": 0.08},
    ),
    "risk_ensemble": (
        "random_forest",
        {"n_estimators": 300, "max_depth": 10, "min_samples_leaf": 3},
    ),
}
RULES = """\
IF credit_amount < 2000 AND (duration_in_month <= 12
     OR savings_account_and_bonds IN ('500 <= ... < 1000 DM', '... >= 1000 DM'))
  THEN quick_approval AS small_and_safe
ELSE IF credit_amount > 8000
     OR (duration_in_month > 36 AND savings_account_and_bonds = '... < 100 DM')
  THEN risk_ensemble AS large_or_long
ELSE standard_underwriting
"""
DECISIONS = """\
IF output.probability.bad < 0.3 THEN approve AS low_risk
ELSE IF output.probability.bad < 0.5 THEN refer AS medium_risk
ELSE decline
"""


class Node(Struct, frozen=True):
    """A folder that a router can be started from.

    Attributes:
        folder: holds ``home``, ``store`` and ``spool``.
        root_key: public root key, base64.
        key: routing key for the endpoint.
        bodies: one request body per row of the data.
        features: schema of the endpoint.
    """

    folder: Path
    root_key: str
    key: str
    bodies: tuple[bytes, ...]
    features: FeatureMap


def read_credit(path: Path) -> tuple[FeatureMap, dict[str, list[Any]], list[str]]:
    """Features, columns and target of the data; protected columns are left out.

    Raises:
        LoadTestError: the file is not the German credit data.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror}", at=str(path)) from None
    if not rows or TARGET not in rows[0]:
        raise LoadTestError(f"expected German credit rows with {TARGET}", at=str(path))
    columns: dict[str, list[Any]] = {}
    features: FeatureMap = {}
    for name in rows[0]:
        if name == TARGET or name in PROTECTED:
            continue
        words = [row[name] for row in rows]
        if all(word.isdigit() for word in words):
            numbers = [int(word) for word in words]
            columns[name] = numbers
            features[name] = Feature("int", min=0, max=4 * max(numbers))
        else:
            columns[name] = words
            features[name] = Feature("enum", values=tuple(sorted(set(words))))
    return features, columns, [row[TARGET] for row in rows]


def build_node(
    data: Path, folder: Path, *, policies: Policies | None = None,
    progress: Callable[[str], None] | None = None,
) -> Node:  # fmt: skip
    """Train, package, sign and write a node.

    Args:
        data: German credit CSV.
        folder: empty or missing.
        policies: of the release; default the product's own.
        progress: told each step.
    """
    tell = progress or (lambda _: None)
    features, columns, target = read_credit(data)
    root, people, machine = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()
    now = datetime.now(UTC)
    until = format_time(now + timedelta(days=365))
    roster = Roster(
        1,
        until,
        (
            roster_key(machine.public, MACHINE, "builder", "releaser"),
            roster_key(people.public, APPROVER, "approver"),
        ),
    )
    refs, approvals = [], []
    for name in RECIPES:
        tell(f"training {name}")
        package = _package(name, features, columns, target, folder, machine)
        refs.append(ModelRef(name, 1, package))
        approval = ModelApproval(
            package, name, 1, (), "one approver", APPROVER, format_time(now), until
        )
        approvals.append(sign(MODEL_APPROVAL, encode_statement(approval), people))
    content = ReleaseContent(
        endpoint=ENDPOINT,
        number=1,
        features=features,
        output=OUTPUT,
        rules={"text": RULES},
        decision_table={"text": DECISIONS},
        models=tuple(refs),
        policies=policies or Policies(),
        owner=TRAINER,
        slo={"p99_ms": 5.0, "availability": 0.999},
        justification="benchmark",
        proposed_by=TRAINER,
        created_at=format_time(now),
    )
    raw = canonical(content)
    statement = ReleaseStatement(ENDPOINT, 1, digest(raw))
    routing = ReleaseApproval(ENDPOINT, 1, digest(raw), APPROVER, format_time(now), until)
    bundle = ReleaseBundle(
        raw,
        sign(RELEASE, encode_statement(statement), machine),
        (sign(RELEASE_APPROVAL, encode_statement(routing), people),),
        tuple(approvals),
    )
    key = "ilk_" + secrets.token_urlsafe(32)
    row = KeyRow("bench", hashlib.sha256(key.encode()).digest(), (ENDPOINT,), ("*",))
    cache = folder / "home" / "cache" / "router"
    write_snapshot(cache, [bundle], [row], sign_roster(roster, root), roster_version=1)
    return Node(folder, b64(root.public), key, _bodies(columns), features)


def _package(  # noqa: PLR0917 - one call, just below the data it takes
    name: str,
    features: FeatureMap,
    columns: dict[str, list[Any]],
    target: list[str],
    folder: Path,
    builder: KeyPair,
) -> str:
    import numpy as np

    from compiler.models.build import build_package
    from compiler.models.matrix import to_matrix
    from compiler.models.pipeline import make_pipeline
    from compiler.models.recipe import Recipe
    from compiler.package import sign_package

    estimator, params = RECIPES[name]
    recipe = Recipe("classification", estimator, params, seed=SEED)
    matrix = to_matrix(columns, features)
    labels = np.array(target)
    pipeline = make_pipeline(recipe, features)
    pipeline.fit(matrix, labels)
    info = build_package(
        pipeline, matrix, labels,
        features=features, output=OUTPUT, name=name, version=1, recipe=recipe,
        lineage={"dataset": "german_credit"}, contributors=(TRAINER,), metrics={},
        out_dir=folder / "store" / "packages", positive="good",
    )  # fmt: skip
    sign_package(info.path, builder)
    return info.digest


def _bodies(columns: dict[str, list[Any]]) -> tuple[bytes, ...]:
    """Every row as a request with a subject-free body, in the order of the data."""
    rows = zip(*columns.values(), strict=True)
    return tuple(
        msgspec.json.encode({"features": dict(zip(columns, row, strict=True))}) for row in rows
    )
