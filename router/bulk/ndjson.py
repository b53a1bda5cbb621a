"""Rows of NDJSON as columns, decoded as strictly as the router decodes a request.

A line is a request object (``{"features": {...}, "subject": ..., "context": {...}}``) or flat: the
features at the top, beside ``_id``, ``_subject``, ``_context.NAME`` and anything else; the first
line of a file says which. A line goes through a typed decoder; one that does not fit is taken
again by the decoder that words problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from compiler.errors import AppError
from compiler.schema import CONTEXT_PREFIX
from compiler.schema_decode import features_struct
from router.bulk.blocks import CONTEXT, ID, RESERVED, SPLIT, SUBJECT, Bad, Block, Reading
from router.bulk.errors import InputError
from router.bulk.ndjson_fast import FastLines
from router.bulk.text import refused, take_slowly
from router.bulk.units import Unit
from router.columnar.batch import row_batch
from router.endpoint import DECODING
from router.wire.native import Row, Word, decode_row, shape_error

if TYPE_CHECKING:
    import pyarrow as pa

    from router.endpoint import Endpoint

READ_BYTES = 1 << 20
EMPTY = (b"", b"\r")
Values = tuple[Any, ...]
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode


def ndjson_blocks(path: Path, units: Sequence[Unit], how: Reading) -> Iterator[Block]:
    """Blocks of some units of an NDJSON file, in order; arguments as for columnar files."""
    with path.open("rb") as file:
        reader = _Lines(how.endpoint, how.keys, flat=_is_flat(file.readline()))
        for unit in units:
            at, end = unit.first_row, unit.first_row + unit.rows
            for lines in _grouped(_lines(file, unit), how.batch_rows):
                stop = at + len(lines)
                yield reader.block(unit, at, lines, last=stop == end)
                at = stop
            if unit.rows == 0:
                yield reader.block(unit, at, [], last=True)
            elif at != end:
                raise InputError(f"expected {unit.rows} rows from {unit.first_row}, got fewer",
                                 code="bulk.changed", at=str(path))  # fmt: skip


def _is_flat(line: bytes) -> bool:
    """Whether features stand at the top of a line."""
    try:
        inner = _members(line).get("features")
        return inner is None or not bytes(inner).startswith(b"{")
    except DECODING:
        return False


def _lines(file: Any, unit: Unit) -> Iterator[list[bytes]]:
    """The lines of a unit that are rows."""
    file.seek(unit.offset)
    left, rest = unit.size, b""
    while left > 0:
        chunk = file.read(min(READ_BYTES, left))
        left -= len(chunk) or left  # a file that shrank ends here, and lacks rows
        *whole, rest = (rest + chunk).split(b"\n")
        yield [line for line in whole if line not in EMPTY]
    if rest not in EMPTY:
        yield [rest]


def _grouped(pieces: Iterator[list[bytes]], size: int) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for piece in pieces:
        group += piece
        while len(group) >= size:
            yield group[:size]
            group = group[size:]
    if group:
        yield group


class _Lines:
    """Turns lines into blocks.

    Args:
        endpoint: whose schema the rows have.
        keys: members carried through, as text.
        flat: features stand at the top of each line.
    """

    def __init__(self, endpoint: Endpoint, keys: Sequence[str], *, flat: bool) -> None:
        self._endpoint = endpoint
        self._keys = tuple(keys)
        self._flat = flat
        self._fast = FastLines(endpoint, keys, flat=flat)
        features = endpoint.content.features
        plain: Any = features_struct(features, extra="ignore") if flat else endpoint.plain.struct
        context = endpoint.context.struct
        self._plain = [each.name for each in msgspec.structs.fields(plain)]
        self._context = [CONTEXT_PREFIX + e.name for e in msgspec.structs.fields(context)]
        own = [name for name in self._keys if name not in RESERVED]
        rename = {f"k{n}": name for n, name in enumerate(own)}
        keyed = [(field, Raw | UnsetType, UNSET) for field in rename]
        word = Word | None
        names = RESERVED if flat else ("id", "subject", "split_id")
        rename.update(zip(("id", "subject", "split_id"), names, strict=True))
        reserved = [(field, word, None) for field in ("id", "subject", "split_id")]
        shape: list[Any] = (
            [] if flat else [("features", plain), ("context", context | UnsetType, UNSET)]
        )
        line: Any = msgspec.defstruct(
            "Line", [*([] if flat else shape), *reserved, *keyed],
            rename=rename, kw_only=True, gc=False, forbid_unknown_fields=not flat,
        )  # fmt: skip
        self._member = dict(zip(RESERVED, names, strict=True)) | {name: name for name in own}
        self._field = [
            name[1:] if name in RESERVED else f"k{own.index(name)}" for name in self._keys
        ]
        self._line = msgspec.json.Decoder(line).decode
        self._features = msgspec.json.Decoder(plain).decode
        try:
            self._no_context: Values | None = msgspec.structs.astuple(context())
        except TypeError:  # some of it is required
            self._no_context = None
        self._reserved = any(name.startswith(CONTEXT_PREFIX) for name in features)

    def block(self, unit: Unit, first_row: int, lines: list[bytes], *, last: bool) -> Block:
        """Consecutive lines of a unit."""
        taken = self._fast.read(lines)
        if taken is not None:
            return Block(unit, last, first_row, len(lines), taken[0], {}, taken[1])
        read = self._flat_row if self._flat else self._nested_row
        rows: list[Values] = []
        bad: dict[int, Bad] = {}
        keys: list[Values] = []
        for place, line in enumerate(lines):
            try:
                row, kept = read(line)
            except (*DECODING, TypeError):
                found, kept = self._slowly(line)
                if isinstance(found, Bad):
                    bad[place] = found
                else:
                    rows.append(found)
            else:
                rows.append(row)
            if self._keys:
                keys.append(kept)
        names = [*self._plain, *self._context, ID, SUBJECT, SPLIT]
        columns = zip(*rows, strict=True) if rows else ([] for _ in names)
        batch = row_batch(self._endpoint.content.features, dict(zip(names, columns, strict=True)))
        return Block(unit, last, first_row, len(lines), batch, bad, self._key_batch(keys))

    def _nested_row(self, line: bytes) -> tuple[Values, Values]:
        """A request object, as one tuple of features, context and reserved columns."""
        found = self._line(line)
        context = found.context
        if context is UNSET:
            beside = self._no_context
            if beside is None:
                raise TypeError(line)
        else:
            beside = msgspec.structs.astuple(context)
        row = (
            *msgspec.structs.astuple(found.features), *beside,
            found.id, found.subject, found.split_id,
        )  # fmt: skip
        return row, self._kept(found)

    def _flat_row(self, line: bytes) -> tuple[Values, Values]:
        """A flat object; one with context goes the slow way."""
        if self._reserved:
            raise TypeError(line)
        found = self._line(line)
        row = (
            *msgspec.structs.astuple(self._features(line)), *(self._no_context or ()),
            found.id, found.subject, found.split_id,
        )  # fmt: skip
        return row, self._kept(found)

    def _kept(self, found: Any) -> Values:
        return tuple(getattr(found, field) for field in self._field)

    def _slowly(self, line: bytes) -> tuple[Values | Bad, Values]:
        """A line that the typed decoder did not take."""
        kept: Values = (None,) * len(self._keys)
        row = None
        try:
            members = _members(line)
            kept = tuple(members.get(self._member[name]) for name in self._keys)
            row = self._row(members)
        except DECODING as error:
            return refused(shape_error(error)), kept
        except AppError as error:
            return refused(error, row), kept
        found = take_slowly(self._endpoint, row)
        if isinstance(found, Bad):
            return found, kept
        names = (*self._plain, *self._context)
        return (*(found[name] for name in names), row.id, row.subject, row.split_id), kept

    def _row(self, members: dict[str, Raw]) -> Row:
        """A line as a request."""
        if not self._flat:
            taken = {name for name in self._keys if name not in RESERVED}
            rest = {name: raw for name, raw in members.items() if name not in taken}
            return decode_row(msgspec.json.encode(rest))
        outer: dict[str, Any] = {
            "features": {name: members[name] for name in self._plain if name in members}
        }
        context = {
            name.removeprefix(CONTEXT): raw
            for name, raw in members.items()
            if name.startswith(CONTEXT)
        }
        if context:
            outer["context"] = context
        for name in RESERVED:
            if name in members:
                outer[name[1:]] = members[name]
        return decode_row(msgspec.json.encode(outer))

    def _key_batch(self, rows: list[Values]) -> pa.RecordBatch | None:
        """Key members as text: strings as they are, anything else as JSON."""
        import pyarrow as pa

        if not self._keys:
            return None
        columns = zip(*rows, strict=True) if rows else ([] for _ in self._keys)
        return pa.record_batch(
            {
                name: pa.array(list(map(_key_text, values)), pa.string())
                for name, values in zip(self._keys, columns, strict=True)
            }
        )


def _key_text(raw: Any) -> str | None:
    if raw is UNSET or raw is None:
        return None
    if isinstance(raw, str):
        return raw
    text = bytes(raw).strip()
    if text == b"null":
        return None
    return _text(text) if text.startswith(b'"') else text.decode()
