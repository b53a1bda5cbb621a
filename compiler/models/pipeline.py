"""Recipe to an unfitted scikit-learn pipeline over the matrix of ``to_matrix``."""

from __future__ import annotations

import importlib
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest, f_classif, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from compiler.models.recipe import Preprocessing, Recipe, RecipeError
from compiler.models.steps import AsFloat32, QuantileClip
from compiler.models.supported import SUPPORTED, Supported, by_word
from compiler.models.values import is_categorical, model_features
from compiler.schema import FeatureMap

_SCALERS = {"standard": StandardScaler, "robust": RobustScaler, "minmax": MinMaxScaler}
_COMPOSED = {"voting", "stacking", "calibrated"}


def make_pipeline(recipe: Recipe, features: FeatureMap) -> Pipeline:
    """An unfitted pipeline; protected features are not among its columns.

    Args:
        recipe: what to fit.
        features: the dataset's schema.

    Raises:
        RecipeError: unknown parameters, or preprocessing that the family must not have.
        UnsupportedEstimatorError: not on the allow-list.
    """
    entry = by_word(recipe.estimator, recipe.task)
    used = list(model_features(features).items())
    if not used:
        raise RecipeError("the schema has no feature that a model may see", at="features")
    numbers = [place for place, (_, feature) in enumerate(used) if not is_categorical(feature)]
    words = [place for place, (_, feature) in enumerate(used) if is_categorical(feature)]
    plan = recipe.preprocessing
    blocks: list[tuple[str, Any, list[int]]] = []
    if numbers:
        blocks.append(("numbers", _numeric_steps(entry, plan), numbers))
    if words:
        blocks.append(("categories", _encoder(entry, plan), words))
    steps: list[tuple[str, Any]] = [("columns", ColumnTransformer(blocks, sparse_threshold=0.0))]
    if plan.select is not None:
        score = f_classif if recipe.task == "classification" else f_regression
        steps.append(("select", SelectKBest(score, k=plan.select)))
    steps.append(("model", make_estimator(recipe)))
    return Pipeline(steps)


def make_estimator(recipe: Recipe) -> Any:
    """The unfitted estimator of a recipe, seeded where it takes a seed.

    Composed estimators take ``estimators`` (a list of words) or ``estimator`` (a word, with its own
    ``estimator_params``) as parameters; their parts are seeded alike.

    Raises:
        RecipeError: a parameter that the estimator does not have.
    """
    entry = by_word(recipe.estimator, recipe.task)
    params: dict[str, Any] = {**entry.defaults, **recipe.params}
    if recipe.estimator in _COMPOSED:
        params = _composed(recipe, params)
    if entry.seeded:
        params.setdefault("random_state", recipe.seed)
    module, _, name = entry.path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    known = kind().get_params() if recipe.estimator not in _COMPOSED else None
    unknown = [key for key in params if known is not None and key not in known]
    if unknown:
        raise RecipeError(
            f"expected parameters of {name}, got {', '.join(unknown)}",
            at=f"params.{unknown[0]}",
            hint=f"known: {', '.join(sorted(known or ()))}",
        )
    try:
        return kind(**params)
    except TypeError as error:
        raise RecipeError(f"{name}: {error}", at="params") from error


def _composed(recipe: Recipe, params: dict[str, Any]) -> dict[str, Any]:
    def part(word: str, inner: dict[str, Any]) -> Any:
        fitted = make_estimator(Recipe(recipe.task, word, inner, seed=recipe.seed))
        if by_word(word, recipe.task).family == "tree":
            return fitted
        return Pipeline([("scale", StandardScaler()), ("model", fitted)])

    default = ["logistic_regression", "random_forest"]
    if recipe.task == "regression":
        default = ["ridge", "random_forest"]
    if recipe.estimator == "calibrated":
        inner = params.pop("estimator_params", {})
        params["estimator"] = part(params.get("estimator", "random_forest"), inner)
        return params
    params["estimators"] = [(word, part(word, {})) for word in params.get("estimators", default)]
    if recipe.estimator == "voting" and recipe.task == "classification":
        params.setdefault("voting", "soft")
        params["flatten_transform"] = False  # the export knows no flattened transform
    if isinstance(params.get("final_estimator"), str):
        final = Recipe(recipe.task, params["final_estimator"], seed=recipe.seed)
        params["final_estimator"] = make_estimator(final)
    return params


def _numeric_steps(entry: Supported, plan: Preprocessing) -> Pipeline:
    tree = entry.family == "tree" or entry.word in _COMPOSED  # their parts scale for themselves
    if tree and (plan.clip is not None or plan.scale not in ("auto", "none")):
        raise RecipeError(
            f"expected no scaling or clipping before {entry.word}, got "
            f"{'clip' if plan.clip is not None else plan.scale}",
            at="preprocessing",
            hint="tree thresholds are exact on raw values and do not need it",
        )
    steps: list[tuple[str, Any]] = [("float32", AsFloat32())]
    impute = plan.impute
    if impute == "auto":
        impute = "none" if entry.handles_missing else "median"
    if impute != "none":
        steps.append(("impute", SimpleImputer(strategy=impute, keep_empty_features=True)))
    if plan.clip is not None:
        steps.append(("clip", QuantileClip(*plan.clip)))
    scale = plan.scale if plan.scale != "auto" else ("none" if tree else "standard")
    if scale != "none":
        steps.append(("scale", _SCALERS[scale]()))
    return Pipeline(steps)


def _encoder(entry: Supported, plan: Preprocessing) -> Any:
    encode = plan.encode
    if encode == "auto":
        encode = "ordinal" if entry.word == "hist_gradient_boosting" else "one_hot"
    if encode == "one_hot":
        handle = "ignore" if plan.min_frequency is None else "infrequent_if_exist"
        return OneHotEncoder(
            handle_unknown=handle, min_frequency=plan.min_frequency, sparse_output=False
        )
    nan = float("nan")
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=nan if entry.handles_missing else -1,
        encoded_missing_value=nan if entry.handles_missing else -2,
        min_frequency=plan.min_frequency,
    )


def recipe_words() -> tuple[str, ...]:
    """Every word of the allow-list, once."""
    return tuple(dict.fromkeys(entry.word for entry in SUPPORTED))
