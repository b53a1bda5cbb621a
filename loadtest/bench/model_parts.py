"""One row at a time: German credit scorers, many loaded models, explanations."""

from __future__ import annotations

import random
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compiler.models.build import PackageInfo, build_package
from compiler.models.matrix import to_matrix
from compiler.models.pipeline import make_pipeline
from compiler.models.recipe import Recipe
from compiler.schema import FeatureMap
from loadtest.bench.credit import OUTPUT, read_credit
from loadtest.bench.models import Line, best_us
from serving.engine import Engine

RECIPES: dict[str, dict[str, Any]] = {
    "logistic_regression": {},
    "gradient_boosting": {"n_estimators": 100},
    "hist_gradient_boosting": {"max_iter": 100},
    "random_forest": {"n_estimators": 100, "max_depth": 8},
}
BUDGET_US = 9.0
MANY = (1, 100, 1000)


class Trained:
    """A fitted pipeline with its data and package."""

    def __init__(self, data: Path, folder: Path, estimator: str, *, flat: bool = False) -> None:
        self.features, self.columns, target = read_credit(data)
        self.recipe = Recipe("classification", estimator, RECIPES[estimator], seed=7)
        self.matrix = to_matrix(self.columns, self.features)
        labels = np.asarray(target)
        self.pipeline = make_pipeline(self.recipe, self.features).fit(self.matrix, labels)
        self.info: PackageInfo = build_package(
            self.pipeline,
            self.matrix,
            labels,
            features=self.features,
            output=OUTPUT,
            name=estimator,
            version=1,
            recipe=self.recipe,
            lineage={},
            contributors=(),
            metrics={},
            out_dir=folder if flat else folder / estimator,
        )

    def row(self, index: int) -> dict[str, Any]:
        """One application."""
        return {name: values[index] for name, values in self.columns.items()}


def request_type(features: FeatureMap) -> Any:
    """A decoded request's type."""
    kinds: dict[str, type] = {"int": int, "float": float, "bool": bool}
    return msgspec.defstruct(
        "Request", [(name, kinds.get(f.type, str)) for name, f in features.items()]
    )


def one_row(data: Path, folder: Path) -> list[Line]:
    """From decoded struct to score, beside ONNX Runtime on strings and scikit-learn."""
    lines = []
    for estimator in RECIPES:
        trained = Trained(data, folder, estimator)
        model = Engine.load(trained.info.path)
        kind = request_type(trained.features)
        f = kind(**trained.row(0))
        score = model.bind(kind)
        limit = "<= 9 us" if estimator in ("logistic_regression", "gradient_boosting") else ""
        lines.append(_line(f"{estimator}: bound scorer", best_us(partial(score, f)), limit))
        strings = _string_session(trained)
        lines.append(_line(f"{estimator}: ONNX Runtime, one tensor per column", best_us(strings)))
        row = trained.matrix[:1]
        whole = trained.pipeline.predict_proba
        slow = best_us(partial(whole, row), calls=20, rounds=3)
        lines.append(_line(f"{estimator}: scikit-learn, one row", slow))
    return lines


def _line(what: str, value: float, limit: str = "") -> Line:
    return Line("one row", what, value, "us", limit)


def _string_session(trained: Trained) -> Any:
    from compiler.models.session import open_session
    from compiler.models.values import is_categorical

    session = open_session((trained.info.path / "portable.onnx").read_bytes())
    feed = {}
    for item in session.get_inputs():
        value = trained.row(0)[item.name]
        word = is_categorical(trained.features[item.name])
        feed[item.name] = np.asarray([[value]], dtype=object if word else np.float32)
    return lambda: session.run(["probabilities"], feed)


def many_loaded(data: Path, folder: Path) -> list[Line]:
    """The same prediction among 1, 100 and 1,000 loaded models, called in random order."""
    trained = Trained(data, folder, "gradient_boosting")
    kind = request_type(trained.features)
    f = kind(**trained.row(0))
    scorers: list[Any] = []
    lines = []
    order = random.Random(1)
    for count in MANY:
        while len(scorers) < count:
            scorers.append(Engine.load(trained.info.path).bind(kind))
        turns = [order.choice(scorers) for _ in range(4000)]
        for how, calls in (("random order", turns), ("calls grouped", sorted(turns, key=id))):

            def call(calls: list[Any] = calls) -> None:
                for scorer in calls:
                    scorer(f)

            figure = best_us(call, calls=1, rounds=7) / len(turns)
            lines.append(Line("many loaded", f"{count} models, {how}", figure, "us"))
    return lines


def explanations(data: Path, folder: Path) -> list[Line]:
    """Explanations a second on one core, beside ``shap`` called row by row."""
    from serving.explain.explainer import load_explainer

    lines = []
    for estimator in RECIPES:
        trained = Trained(data, folder, estimator)
        explainer = load_explainer(trained.info.path)
        row = trained.row(1)
        calls = 20 if estimator == "random_forest" else 100
        ours = best_us(partial(explainer.explain, row), calls=calls, rounds=3)
        words = f"{estimator}: ours, from request to checked explanation"
        lines.append(Line("explanations", words, 1e6 / ours, "rows/s"))
        encoded = explainer.model.encode_columns({k: [v] for k, v in row.items()}, 1)[0]
        alone = best_us(partial(_values, explainer, encoded), calls=calls, rounds=3)
        words = f"{estimator}: ours, values of an encoded row alone"
        lines.append(Line("explanations", words, 1e6 / alone, "rows/s"))
        theirs = _shap_us(trained, explainer._references, calls)  # noqa: SLF001 - the same references
        if theirs is not None:
            words = f"{estimator}: shap, values of an encoded row"
            lines.append(Line("explanations", words, 1e6 / theirs, "rows/s"))
    shutil.rmtree(folder, ignore_errors=True)
    return lines


def _values(explainer: Any, encoded: Any) -> Any:
    """What ``shap`` does too: Shapley values of a row that is encoded already."""
    return explainer._exact.explain(encoded)  # noqa: SLF001 - the part alone


def _shap_us(trained: Trained, references: Any, calls: int) -> float | None:
    """``shap`` on the fitted estimator over the same encoded row and references."""
    try:
        import shap
    except ImportError:
        return None
    from compiler.models.encode import encode_columns

    row = encode_columns(
        {name: [value] for name, value in trained.row(1).items()},
        1,
        trained.info.manifest.encoding,
        trained.features,
    )
    estimator = trained.pipeline.steps[-1][1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if trained.info.manifest.graph.family == "linear":
            explainer = shap.LinearExplainer(estimator, references)
        else:
            explainer = shap.TreeExplainer(
                estimator,
                references,
                feature_perturbation="interventional",
                model_output="raw",
            )
        try:
            return best_us(lambda: explainer.shap_values(row), calls=calls, rounds=3)
        except Exception:  # a family that this version of shap cannot take is left out
            return None
