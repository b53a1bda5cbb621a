"""``package(pipeline, X, schema)``: a pipeline fitted elsewhere becomes a package.

For notebooks: the pipeline may have been fitted on a DataFrame, a matrix or a mapping of columns.
It goes through the same lowering and the same gate as a recipe, and the report says what rounding
the inputs to float32 changes against the numbers it was fitted on.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.build import PackageInfo, build_package
from compiler.models.matrix import from_matrix, to_matrix
from compiler.models.parity import PROBABILITY_TOLERANCE, ParityReport
from compiler.models.values import model_features
from compiler.schema import FeatureMap, OutputSchema, Task


class BringError(AppError):
    """The pipeline, its rows and the schema do not fit together."""

    code = "package.bring"


def package(
    pipeline: Any,
    X: Any,  # noqa: N803 - scikit-learn's name
    schema: FeatureMap | dict[str, dict[str, Any]],
    *,
    name: str,
    version: int = 1,
    out_dir: Path | str = ".",
    classes: tuple[str, ...] = (),
    contributors: tuple[str, ...] = (),
    metrics: dict[str, Any] | None = None,
    lineage: dict[str, Any] | None = None,
    positive: str | None = None,
    report: TextIO | None = sys.stdout,
) -> PackageInfo:
    """Prove and write the package of a fitted pipeline.

    Args:
        pipeline: fitted scikit-learn pipeline or estimator of the allow-list.
        X: the training rows: DataFrame, mapping of columns, or matrix in schema order.
        schema: features by name, as structs or as their JSON form.
        name: model name.
        version: model version.
        out_dir: where the package folder goes.
        classes: order of the probability columns; default the estimator's own.
        contributors: e-mails of everybody who worked on it.
        metrics: held-out figures.
        lineage: where the rows came from.
        positive: the favourable class for explanations.
        report: where the parity report is printed; ``None`` prints nothing.

    Raises:
        BringError: a column is missing, or the pipeline reads a protected feature.
        AppError: as ``build_package``: unsupported estimator, no exact form, failed parity.
    """
    features = msgspec.convert(schema, FeatureMap)
    order = _column_order(pipeline, features)
    protected = {name: f for name, f in features.items() if f.protected}
    features = {**{key: features[key] for key in order}, **protected}
    columns = _columns(X, list(order))
    matrix = to_matrix(columns, features)
    asked: Any = pipeline
    if hasattr(pipeline, "feature_names_in_"):
        asked = Named(pipeline, features)
    output = OutputSchema(_task(pipeline), _classes(pipeline, classes))
    info = build_package(
        asked,
        matrix,
        None,
        features=features,
        output=output,
        name=name,
        version=version,
        recipe=None,
        lineage={"source": "package()", **(lineage or {})},
        contributors=contributors,
        metrics=metrics or {},
        out_dir=Path(out_dir),
        positive=positive,
    )
    if report is not None:
        moved, largest = rounding(pipeline, X, asked, matrix)
        for line in describe(info.parity):
            print(line, file=report)
        print(
            f"rounding   {moved} of {len(matrix)} rows answer differently on the unrounded "
            f"numbers (largest {largest:.2g})",
            file=report,
        )
        print(f"package    {info.digest}\n           {info.path}", file=report)
    return info


def describe(parity: ParityReport) -> list[str]:
    """The parity report in lines."""
    rows = ", ".join(f"{count} {group}" for group, count in parity.rows.items())
    return [
        f"parity     {rows} rows; {parity.refused} refused by both",
        *(
            f"{graph:<10} largest difference {parity.largest_difference[graph]:.2g} "
            f"(limit {parity.tolerance:g}), {parity.label_flips[graph]} other labels"
            for graph in parity.largest_difference
        ),
        (
            f"batches    bit-equal over {', '.join(map(str, parity.batch_sizes))}; "
            f"runs of at least {parity.min_rows}"
        ),
    ]


class Named:
    """A pipeline fitted on named columns, asked with a matrix: rebuilds the frame it expects.

    Everything but the asking methods is the pipeline's own.
    """

    def __init__(self, pipeline: Any, features: FeatureMap) -> None:
        self._pipeline = pipeline
        self._features = features

    @property
    def inner(self) -> Any:
        """The pipeline itself, for lowering."""
        return self._pipeline

    def _frame(self, matrix: NDArray[Any]) -> Any:
        import pandas as pd  # its user has it: the pipeline was fitted on a frame

        return pd.DataFrame(from_matrix(matrix, self._features))

    def predict(self, matrix: NDArray[Any]) -> Any:
        """Labels or values."""
        return self._pipeline.predict(self._frame(matrix))

    def predict_proba(self, matrix: NDArray[Any]) -> Any:
        """Probabilities."""
        return self._pipeline.predict_proba(self._frame(matrix))

    def transform(self, matrix: NDArray[Any]) -> Any:
        """Distances of a clustering."""
        return self._pipeline.transform(self._frame(matrix))


def rounding(
    pipeline: Any,
    X: Any,  # noqa: N803 - scikit-learn's name
    asked: Any,
    matrix: NDArray[Any],
) -> tuple[int, float]:
    """Rows whose answer moves when their numbers are rounded to float32, and by how much."""
    method = "predict_proba" if hasattr(pipeline, "predict_proba") else "predict"
    raw = X
    if isinstance(X, dict):
        raw = np.column_stack([np.asarray(values, dtype=object) for values in X.values()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            before = np.asarray(getattr(pipeline, method)(raw), dtype=float)
        except (ValueError, TypeError):  # given as columns the pipeline itself cannot take
            return 0, 0.0
        after = np.asarray(getattr(asked, method)(matrix), dtype=float)
    difference = np.abs(before - after).reshape(len(matrix), -1).max(axis=1)
    return int((difference > PROBABILITY_TOLERANCE).sum()), float(difference.max(initial=0.0))


def _column_order(pipeline: Any, features: FeatureMap) -> tuple[str, ...]:
    known = model_features(features)
    named = getattr(pipeline, "feature_names_in_", None)
    if named is None:
        return tuple(known)
    order = tuple(str(item) for item in named)
    for name in order:
        if name not in features:
            raise BringError(f"the pipeline reads {name}, which the schema does not have", at=name)
        if name not in known:
            raise BringError(
                f"the pipeline reads {name}, which is protected",
                at=name,
                hint="fit without it, or ask for a waiver and declare it unprotected",
            )
    return order


def _columns(rows: Any, names: list[str]) -> dict[str, Any]:
    if hasattr(rows, "columns"):
        found = {str(key): rows[key].to_numpy() for key in rows.columns}
    elif isinstance(rows, dict):
        found = dict(rows)
    else:
        matrix = np.asarray(rows)
        if matrix.ndim != 2 or matrix.shape[1] != len(names):
            raise BringError(
                f"expected {len(names)} columns in the order {', '.join(names)}, "
                f"got shape {matrix.shape}"
            )
        found = {name: matrix[:, place] for place, name in enumerate(names)}
    for name in names:
        if name not in found:
            raise BringError(f"the rows have no column {name}", at=name)
    return {name: found[name] for name in names}


def _task(pipeline: Any) -> Task:
    if hasattr(pipeline, "classes_"):
        return "classification"
    steps = getattr(pipeline, "steps", [("model", pipeline)])
    return "clustering" if hasattr(steps[-1][1], "cluster_centers_") else "regression"


def _classes(pipeline: Any, classes: tuple[str, ...]) -> tuple[str, ...]:
    if classes or not hasattr(pipeline, "classes_"):
        return classes
    return tuple(str(item) for item in pipeline.classes_.tolist())
