"""Fitting and measuring one recipe; the only module here that needs scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.pipeline import make_pipeline
from compiler.models.recipe import Recipe
from compiler.schema import FeatureMap, OutputSchema
from control_plane.training import metrics


class FitError(AppError):
    """The recipe could not be fitted to this data."""

    code = "run.fit"


def fit(
    recipe: Recipe, features: FeatureMap, matrix: NDArray[Any], target: NDArray[Any] | None
) -> tuple[Any, tuple[str, ...]]:
    """A pipeline fitted on training rows, and what the libraries warned about.

    Raises:
        RecipeError: the recipe asks for what its estimator does not have.
        FitError: the estimator refused the data.
    """
    pipeline = make_pipeline(recipe, features)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pipeline.fit(matrix, target)
        except (ValueError, TypeError) as error:
            raise FitError(
                f"{recipe.estimator}: {str(error).splitlines()[0][:300]}",
                hint="check the parameters and the preprocessing of the recipe",
            ) from error
    return pipeline, tuple(dict.fromkeys(str(warning.message)[:300] for warning in caught))


def measure(
    pipeline: Any,
    matrix: NDArray[Any],
    target: NDArray[Any] | None,
    output: OutputSchema,
    positive: str | None,
) -> dict[str, Any]:
    """Figures of rows the pipeline has not seen."""
    if output.task == "classification":
        assert target is not None
        proba = np.asarray(pipeline.predict_proba(matrix), dtype=np.float64)
        chosen = positive or output.classes[-1]
        return metrics.classification(target, proba, output.classes, chosen)
    if output.task == "regression":
        assert target is not None
        return metrics.regression(target, np.asarray(pipeline.predict(matrix), np.float64))
    return clustering(pipeline, matrix)


def clustering(pipeline: Any, matrix: NDArray[Any]) -> dict[str, Any]:
    """Figures of a clustering: sizes, and how well separated the clusters are."""
    from sklearn.metrics import silhouette_score

    cluster = np.asarray(pipeline.predict(matrix))
    inner = pipeline[:-1].transform(matrix)
    sizes = np.bincount(cluster)
    several = len(np.unique(cluster)) > 1
    score = (
        silhouette_score(inner, cluster, sample_size=min(2000, len(cluster)), random_state=0)
        if several
        else 0.0
    )
    return {"silhouette": float(score), "sizes": sizes.tolist(), "rows": len(cluster)}
