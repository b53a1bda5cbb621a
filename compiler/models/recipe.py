"""What to fit, as data: estimator, parameters, preprocessing and seed. No training library here."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from compiler.errors import AppError
from compiler.schema import Task


class RecipeError(AppError):
    """The recipe asks for something that cannot be fitted or exported exactly."""

    code = "recipe.invalid"


class Preprocessing(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Steps before the estimator; ``auto`` chooses what the estimator's family needs.

    Attributes:
        impute: what a missing number becomes; ``none`` leaves it to the estimator.
        scale: scaling of numbers; a tree family refuses any (its thresholds would blur).
        encode: categories to one slot each, or to one code.
        clip: lower and upper quantile beyond which training and serving values are clipped.
        select: keep this many columns by univariate score.
        min_frequency: categories seen fewer times share one slot.
    """

    impute: Literal["auto", "median", "mean", "most_frequent", "none"] = "auto"
    scale: Literal["auto", "standard", "robust", "minmax", "none"] = "auto"
    encode: Literal["auto", "one_hot", "ordinal"] = "auto"
    clip: tuple[float, float] | None = None
    select: int | None = None
    min_frequency: int | None = None


class Recipe(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One training recipe.

    Attributes:
        task: classification, regression or clustering.
        estimator: a word of the allow-list, such as ``gradient_boosting``.
        params: estimator parameters by their scikit-learn names.
        preprocessing: steps before the estimator.
        seed: seed of everything random.
    """

    task: Task
    estimator: str
    params: dict[str, Any] = {}
    preprocessing: Preprocessing = Preprocessing()
    seed: int = 0
