"""Rows of a stream as columns: each line through the typed decoder of a request.

A line that does not fit is taken again by the decoder that words problems, so that its error is the
one that a single request would have got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from compiler.errors import AppError
from compiler.schema import CONTEXT_PREFIX
from router.columnar.batch import row_batch
from router.columnar.inputs import ID, RESERVED, SPLIT, SUBJECT, column_name
from router.endpoint import DECODING
from router.wire.native import MAX_WORD, Row, Timeout, Word, decode_row, shape_error

if TYPE_CHECKING:
    import pyarrow as pa

    from compiler.schema import FeatureMap
    from router.endpoint import Endpoint

Values = tuple[Any, ...]
Reader = Callable[[bytes], Row | AppError]


class Refused(Struct, frozen=True):
    """A line without a decision.

    Attributes:
        error: what is wrong with it.
        row: its outer shape, when that could be read.
    """

    error: AppError
    row: Row | None = None


class LineReader:
    """Turns lines into columns.

    Args:
        endpoint: whose schema the rows have.
        read: from a line to a request, for lines that are no request objects (CSV).
    """

    def __init__(self, endpoint: Endpoint, read: Reader | None = None) -> None:
        self._endpoint = endpoint
        self._read = read
        plain, context = endpoint.plain.struct, endpoint.context.struct
        line: Any = msgspec.defstruct(
            "Line",
            [
                ("features", plain),
                ("id", Word | None, None),
                ("subject", Word | None, None),
                ("split_id", Word | None, None),
                ("context", context | UnsetType, UNSET),
                ("explain", bool, False),
                ("timeout_ms", Timeout | None, None),
            ],
            gc=False,
            forbid_unknown_fields=True,
        )
        self._line = msgspec.json.Decoder(line).decode
        self._names = [
            *(each.name for each in msgspec.structs.fields(plain)),
            *(CONTEXT_PREFIX + each.name for each in msgspec.structs.fields(context)),
            ID,
            SUBJECT,
            SPLIT,
        ]
        try:
            self._no_context: Values | None = msgspec.structs.astuple(context())
        except TypeError:  # some of it is required
            self._no_context = None

    def columns(self, lines: Sequence[bytes]) -> tuple[pa.RecordBatch, dict[int, Refused]]:
        """Columns of the lines that fit, and the others by their place."""
        rows: list[Values] = []
        refused: dict[int, Refused] = {}
        take = self._take if self._read is None else self._cells
        for place, line in enumerate(lines):
            try:
                rows.append(take(line))
            except (*DECODING, TypeError):
                found = self._slowly(line)
                if isinstance(found, Refused):
                    refused[place] = found
                else:
                    rows.append(found)
        columns: Any = zip(*rows, strict=True) if rows else ([] for _ in self._names)
        batch = row_batch(
            self._endpoint.content.features, dict(zip(self._names, columns, strict=True))
        )
        return batch, refused

    def _take(self, line: bytes) -> Values:
        found = self._line(line)
        context = found.context
        beside = self._no_context if context is UNSET else msgspec.structs.astuple(context)
        if beside is None:
            raise TypeError(line)
        return (
            *msgspec.structs.astuple(found.features),
            *beside,
            found.id,
            found.subject,
            found.split_id,
        )

    def _cells(self, line: bytes) -> Values:
        assert self._read is not None
        row = self._read(line)
        if isinstance(row, AppError):
            raise TypeError(line)
        return self._values(
            row,
            self._endpoint.plain.fast(row.features),
            self._endpoint.context.fast(b"{}" if row.context is UNSET else row.context),
        )

    def _slowly(self, line: bytes) -> Values | Refused:
        row = self._row(line)
        if isinstance(row, AppError):
            return Refused(row)
        try:
            f, c, _ = self._endpoint.decode_slow(row)
        except AppError as error:
            return Refused(error, row)
        return self._values(row, f, c)

    def _row(self, line: bytes) -> Row | AppError:
        if self._read is not None:
            return self._read(line)
        try:
            return decode_row(line)
        except DECODING as error:
            return shape_error(error)

    @staticmethod
    def _values(row: Row, f: Any, c: Any) -> Values:
        return (
            *msgspec.structs.astuple(f),
            *msgspec.structs.astuple(c),
            row.id,
            row.subject,
            row.split_id,
        )


def requests_of(batch: pa.RecordBatch, features: FeatureMap) -> list[Row | AppError]:
    """Rows of a batch as the requests that they would have been in JSON.

    The way of endpoints whose rows need records of their own.
    """
    names = {column_name(name): name for name in features}
    found: list[Row | AppError] = []
    for values in batch.to_pylist():
        plain: dict[str, Any] = {}
        context: dict[str, Any] = {}
        for column, value in values.items():
            if column in RESERVED or value is None or value != value:
                continue
            name = names.get(column, column)
            if name.startswith(CONTEXT_PREFIX):
                context[name.removeprefix(CONTEXT_PREFIX)] = value
            else:
                plain[name] = value
        row = Row(
            Raw(msgspec.json.encode(plain)),
            _word(values, ID),
            _word(values, SUBJECT),
            _word(values, SPLIT),
        )
        if context:
            row.context = Raw(msgspec.json.encode(context))
        found.append(row)
    return found


def _word(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    return None if value is None else str(value)[:MAX_WORD]
