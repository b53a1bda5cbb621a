"""What NDJSON and CSV share: types of columns, and the slow look at rows that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.errors import AppError, ProblemsError
from compiler.schema import CONTEXT_PREFIX, Feature
from router.bulk.blocks import CONTEXT, RESERVED, Bad
from router.wire.native import Row

if TYPE_CHECKING:
    import pyarrow as pa

    from router.endpoint import Endpoint


def arrow_type(feature: Feature) -> pa.DataType:
    """Arrow type in which the values of a feature are handed on."""
    import pyarrow as pa

    return {
        "int": pa.int64(),
        "float": pa.float64(),
        "float32": pa.float64(),
        "decimal": pa.decimal128(38, feature.scale),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }.get(feature.type, pa.string())


def column_name(feature: str) -> str:
    """Column of a feature: ``context.NAME`` becomes ``_context.NAME``."""
    if feature.startswith(CONTEXT_PREFIX):
        return CONTEXT + feature.removeprefix(CONTEXT_PREFIX)
    return feature


def refused(error: AppError, row: Row | None = None) -> Bad:
    """What the online answer to a row would have said.

    Args:
        error: what the decoder had against it.
        row: its outer shape, when that could be read.
    """
    code, message, at = error.code, error.message, error.at
    if isinstance(error, ProblemsError) and error.problems:
        first = error.problems[0]
        code, message, at = first.code, first.message, first.at
    place = f" - at {at}" if at else ""
    if row is None:
        return Bad(code, message + place)
    return Bad(code, message + place, bytes(row.features), row.id, row.subject)


def take_slowly(endpoint: Endpoint, row: Row) -> dict[str, Any] | Bad:
    """Values of one row by feature name, by the decoder that words every problem."""
    try:
        plain, context, _ = endpoint.decode_slow(row)
    except AppError as error:
        return refused(error, row)
    values = {name: getattr(plain, name) for name in endpoint.plain.names}
    for name in endpoint.context.names:
        values[CONTEXT_PREFIX + name] = getattr(context, name)
    return values


def row_batch(endpoint: Endpoint, columns: dict[str, Any]) -> pa.RecordBatch:
    """Columns of Python values as a batch in the schema's types.

    Args:
        endpoint: whose features they are.
        columns: values by feature name, and by reserved column.
    """
    import pyarrow as pa

    features = endpoint.content.features
    return pa.record_batch(
        {
            column_name(name): pa.array(
                values, pa.string() if name in RESERVED else arrow_type(features[name])
            )
            for name, values in columns.items()
        }
    )
