"""Python values as Arrow columns in the types of the endpoint's features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.columnar.inputs import RESERVED, column_name

if TYPE_CHECKING:
    import pyarrow as pa

    from compiler.schema import Feature, FeatureMap


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


def row_batch(features: FeatureMap, columns: dict[str, Any]) -> pa.RecordBatch:
    """Columns of Python values as a batch in the schema's types.

    Args:
        features: of the endpoint.
        columns: values by feature name, and by reserved column.
    """
    import pyarrow as pa

    return pa.record_batch(
        {
            column_name(name): pa.array(
                values, pa.string() if name in RESERVED else arrow_type(features[name])
            )
            for name, values in columns.items()
        }
    )
