"""A fitted pipeline split in two: an encoding (outside the graph) and a numeric rest.

Encoders are not re-implemented: the fitted transformer itself is asked what it answers for every
known value, for MISSING and for an unseen value, and the answers become the table. Imputation of
numbers becomes a constant of the encoding. Clipping and scaling of single columns become vectors
over the whole row. Whatever is left (selection, projections, the estimator) is converted as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from compiler.errors import AppError
from compiler.models.encoding import Column, Encoding, Numeric
from compiler.models.steps import AsFloat32, QuantileClip
from compiler.models.tabulate import tabulate
from compiler.models.values import is_categorical, model_features
from compiler.schema import FeatureMap

DISCRETE = (OneHotEncoder, OrdinalEncoder, TargetEncoder)


class LoweringError(AppError):
    """A step of the pipeline has no exact lowered form."""

    code = "model.lowering"


class Stage(Struct, frozen=True):
    """One elementwise step over the whole row: clip, then ``(x - offset) * scale``.

    Shapes: each (width,), float64; infinities mean no bound, 0 and 1 mean no scaling.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]


class Block(Struct, frozen=True):
    """One transformer of the pipeline's first step: its part of the row.

    Attributes:
        columns: its part of the encoding.
        stages: its elementwise steps as vectors.
        chain: its fitted steps.
        generic: it has numeric steps that are not elementwise.
        template: one row of its input columns, to ask the steps with.
    """

    columns: list[Column]
    stages: list[Stage]
    chain: list[Any]
    generic: bool
    template: NDArray[Any]


class Lowered(Struct, frozen=True):
    """The split pipeline.

    Attributes:
        encoding: business values to the row.
        stages: elementwise steps in order.
        rest: fitted transformers after them; applied to the row, in order.
        estimator: the fitted estimator.
        blocks: parts of the row with their fitted steps.
        twin: a fitted transformer of the row in place of ``stages``, for steps that are not
            elementwise; ``None`` when the stages say it all.
    """

    encoding: Encoding
    stages: tuple[Stage, ...]
    rest: tuple[Any, ...]
    estimator: Any
    blocks: tuple[Block, ...]
    twin: Any = None


def lower(pipeline: Any, matrix: NDArray[Any], features: FeatureMap) -> Lowered:
    """Split a fitted pipeline (or bare estimator).

    Args:
        pipeline: fitted; its columns are those of ``to_matrix``.
        matrix: training rows, shape (rows, model features); a source of category values.
        features: the schema.

    Raises:
        LoweringError: names the step and what could be done instead.
    """
    steps = _flatten(pipeline)
    estimator, transformers = steps[-1], steps[:-1]
    names = list(model_features(features))
    if matrix.shape[1] != len(names):
        raise LoweringError(
            f"expected {len(names)} columns (the features a model may see), got {matrix.shape[1]}",
            hint=f"in this order: {', '.join(names)}",
        )
    if transformers and isinstance(transformers[0], ColumnTransformer):
        blocks = _column_blocks(transformers[0], matrix, names, features)
        rest = transformers[1:]
    else:
        places = list(range(len(names)))
        own = 0
        while own < len(transformers) and _is_simple(transformers[own]):
            own += 1
        if transformers and isinstance(transformers[0], DISCRETE):
            own = max(own, 1)
        blocks = [_block(transformers[:own], places, matrix, names, features)]
        rest = transformers[own:]
    columns = [column for block in blocks for column in block.columns]
    encoding = Encoding(tuple(columns))
    if any(block.generic for block in blocks):
        twin = _numeric_twin(blocks)
        return Lowered(encoding, (), tuple(rest), estimator, tuple(blocks), twin)
    return Lowered(encoding, _merge_stages(blocks), tuple(rest), estimator, tuple(blocks))


def _flatten(step: Any) -> list[Any]:
    if isinstance(step, Pipeline):
        return [
            inner
            for _, part in step.steps
            if part is not None and part != "passthrough"
            for inner in _flatten(part)
        ]
    return [step]


def _column_blocks(
    transformer: ColumnTransformer, matrix: NDArray[Any], names: list[str], features: FeatureMap
) -> list[Block]:
    blocks = []
    taken = transformer._transformer_to_input_indices  # noqa: SLF001 - resolves names, masks, slices
    for name, part, _ in transformer.transformers_:
        places = list(taken[name])
        if (isinstance(part, str) and part == "drop") or not places:
            continue
        chain = [] if isinstance(part, str) else _flatten(part)
        chain = [step for step in chain if not _is_passthrough(step)]
        blocks.append(_block(chain, places, matrix, names, features))
    return blocks


def _is_passthrough(step: Any) -> bool:
    return type(step).__name__ == "FunctionTransformer" and step.func is None


def _block(
    chain: list[Any],
    places: list[int],
    matrix: NDArray[Any],
    names: list[str],
    features: FeatureMap,
) -> Block:
    used = [names[place] for place in places]
    template = matrix[:1, places].copy()
    words = [is_categorical(features[name]) for name in used]
    if any(words) or (chain and isinstance(chain[0], DISCRETE)):
        if not chain:
            raise LoweringError(
                f"expected an encoder for {used[words.index(True)]}, got none",
                hint="add OneHotEncoder or OrdinalEncoder for text columns",
            )
        columns = tabulate(chain, used, matrix[:, places], features)
        return Block(columns, [], chain, generic=False, template=template)
    numeric = [Numeric(name) for name in used]
    stages: list[Stage] = []
    for place, step in enumerate(chain):
        if isinstance(step, AsFloat32):
            continue
        if isinstance(step, SimpleImputer) and _is_simple(step) and not stages:
            numeric = [
                Numeric(column.feature, float(np.float32(fill)))
                if column.missing is None and not np.isnan(fill)
                else column
                for column, fill in zip(numeric, step.statistics_, strict=True)
            ]
            continue
        stage = _elementwise(step, len(used))
        if stage is None:
            left = chain[place:] if not stages else chain
            return Block(list(numeric), [], left, generic=True, template=template)
        stages.append(stage)
    return Block(list(numeric), stages, chain, generic=False, template=template)


def _is_simple(step: Any) -> bool:
    if isinstance(step, SimpleImputer):
        return (
            not step.add_indicator
            and len(step.statistics_) == step.n_features_in_
            and (step.keep_empty_features or not np.isnan(step.statistics_.astype(float)).any())
        )
    return isinstance(step, AsFloat32) or _elementwise(step, 0) is not None


def _elementwise(step: Any, width: int) -> Stage | None:
    """The vectors of a scaler or clipper; ``None`` for any other step."""
    width = width or getattr(step, "n_features_in_", 0)
    low, high = np.full(width, -np.inf), np.full(width, np.inf)
    zero, one = np.zeros(width), np.ones(width)
    if isinstance(step, StandardScaler):
        offset = step.mean_ if step.with_mean else zero
        return Stage(low, high, offset, 1.0 / step.scale_ if step.with_std else one)
    if isinstance(step, RobustScaler):
        offset = step.center_ if step.with_centering else zero
        return Stage(low, high, offset, 1.0 / step.scale_ if step.with_scaling else one)
    if isinstance(step, MaxAbsScaler) and not getattr(step, "clip", False):
        return Stage(low, high, zero, 1.0 / step.scale_)
    if isinstance(step, MinMaxScaler) and not step.clip:
        return Stage(low, high, -step.min_ / step.scale_, step.scale_)
    if isinstance(step, QuantileClip):
        return Stage(step.lower_.astype(float), step.upper_.astype(float), zero, one)
    return None


def _merge_stages(blocks: list[Block]) -> tuple[Stage, ...]:
    """Stages of all blocks side by side; a block without one leaves its slots alone."""
    merged = []
    for level in range(max((len(block.stages) for block in blocks), default=0)):
        parts = []
        for block in blocks:
            width = sum(column.width for column in block.columns)
            parts.append(block.stages[level] if level < len(block.stages) else _identity(width))
        merged.append(
            Stage(
                np.concatenate([part.lower for part in parts]),
                np.concatenate([part.upper for part in parts]),
                np.concatenate([part.offset for part in parts]),
                np.concatenate([part.scale for part in parts]),
            )
        )
    return tuple(merged)


def _identity(width: int) -> Stage:
    return Stage(np.full(width, -np.inf), np.full(width, np.inf), np.zeros(width), np.ones(width))


def _numeric_twin(blocks: list[Block]) -> ColumnTransformer:
    """A fitted ColumnTransformer over the row, for numeric steps that are not elementwise."""
    parts: list[tuple[str, Any, list[int]]] = []
    start = 0
    for index, block in enumerate(blocks):
        width = sum(column.width for column in block.columns)
        slots = list(range(start, start + width))
        start += width
        tabulated = not all(isinstance(column, Numeric) for column in block.columns)
        chain = [step for step in block.chain if not isinstance(step, AsFloat32)]
        if tabulated or not chain:
            parts.append((f"b{index}", "passthrough", slots))
            continue
        step = (
            chain[0] if len(chain) == 1 else Pipeline([(f"s{n}", s) for n, s in enumerate(chain)])
        )
        parts.append((f"b{index}", step, slots))
    empty = [(name, "passthrough", slots) for name, _, slots in parts]
    twin = ColumnTransformer(empty, sparse_threshold=0.0)
    twin.fit(np.zeros((2, start), np.float32))  # shapes only; the fitted parts go in below
    twin.transformers = twin.transformers_ = parts
    return twin


def selected_slots(lowered: Lowered) -> NDArray[np.intp] | None:
    """Row slot of each column the estimator sees; ``None`` when steps between mix columns."""
    if lowered.twin is not None:
        return None
    slots = np.arange(lowered.encoding.width)
    for step in lowered.rest:
        if not hasattr(step, "get_support"):
            return None
        slots = slots[step.get_support(indices=True)]
    return slots
