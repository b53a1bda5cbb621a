"""Many lines of NDJSON at once, by Arrow's own reader, where it means what the router would.

Arrow takes the lines when each of them is one object of exactly the expected names and types. In
every other case (null, NaN, an escape, an unknown name, a wrong type, a second object on a line)
it is not asked or not believed, and the lines are decoded one by one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json

from compiler.schema import CONTEXT_PREFIX
from router.bulk.blocks import RESERVED
from router.columnar.batch import arrow_type
from router.columnar.inputs import column_name
from router.wire.native import MAX_WORD

if TYPE_CHECKING:
    from router.endpoint import Endpoint

PLAIN = frozenset({"int", "float", "float32", "bool", "string", "enum"})
"""Types of features that mean the same to both readers."""
DOUBTFUL = (b"null", b"\\")
"""Bytes that make one of both readers see something else."""
KEY_TYPES = (pa.string(), pa.int64())
"""Types that key members may have here; their text is the same for both readers."""
Taken = tuple[pa.RecordBatch, "pa.RecordBatch | None"]


class FastLines:
    """Reads blocks of lines.

    Args:
        endpoint: whose schema the rows have.
        keys: members carried through, as text.
        flat: features stand at the top of each line.
    """

    def __init__(self, endpoint: Endpoint, keys: Sequence[str], *, flat: bool) -> None:
        features = endpoint.content.features
        self._possible = all(each.type in PLAIN for each in features.values()) and not (
            flat and any(name.startswith(CONTEXT_PREFIX) for name in features)
        )
        self._flat = flat
        self._keys = tuple(keys)
        self._own = [name for name in keys if name not in RESERVED]
        if flat:  # the text of a number is not always the text it came as
            self._possible &= all(
                name not in features or features[name].type in ("int", "string", "enum")
                for name in self._own
            )
        self._features = pa.schema(
            [(n, arrow_type(each)) for n, each in features.items() if n in endpoint.plain.names]
        )
        self._context = pa.schema(
            [
                (name.removeprefix(CONTEXT_PREFIX), arrow_type(each))
                for name, each in features.items()
                if name.startswith(CONTEXT_PREFIX)
            ]
        )
        self._reserved = RESERVED if flat else tuple(name[1:] for name in RESERVED)
        self._key_type = KEY_TYPES[0]

    def read(self, lines: list[bytes]) -> Taken | None:
        """Columns and key columns of some lines; None when they are to be read one by one."""
        if not (self._possible and lines):
            return None
        if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
            return None
        text = b"\n".join(lines)
        if any(mark in text for mark in DOUBTFUL):
            return None
        for kind in dict.fromkeys((self._key_type, *(KEY_TYPES if self._own else ()))):
            try:
                table = self._parsed(text, kind)
            except (pa.ArrowException, UnicodeDecodeError):
                continue
            self._key_type = kind
            return self._taken(table) if table.num_rows == len(lines) else None
        return None

    def _parsed(self, text: bytes, key_type: pa.DataType) -> pa.Table:
        fields = [(name, pa.string()) for name in self._reserved]
        known = self._features.names if self._flat else ()
        fields += [(name, key_type) for name in self._own if name not in known]
        if self._flat:
            fields += list(zip(self._features.names, self._features.types, strict=True))
        else:
            fields.append(("features", pa.struct(self._features)))
            if len(self._context):
                fields.append(("context", pa.struct(self._context)))
        table = arrow_json.read_json(
            io.BytesIO(text),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pa.schema(fields),
                unexpected_field_behavior="ignore" if self._flat else "error",
            ),
        )
        table.validate(full=True)  # text that is no UTF-8 would pass otherwise
        return table

    def _taken(self, table: pa.Table) -> Taken | None:
        """Columns under the names of a batch; None when a value is not what it seems."""
        columns: dict[str, Any] = {}
        if self._flat:
            columns |= {name: _whole(table, name) for name in self._features.names}
        else:
            outer = _whole(table, "features")
            if outer.null_count:
                return None
            columns |= {n: outer.field(place) for place, n in enumerate(self._features.names)}
            if len(self._context):
                inner = _whole(table, "context")
                if inner.null_count:
                    return None
                columns |= {
                    column_name(CONTEXT_PREFIX + name): inner.field(place)
                    for place, name in enumerate(self._context.names)
                }
        for column in columns.values():
            if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column)).as_py():
                return None
        for name, member in zip(RESERVED, self._reserved, strict=True):
            columns[name] = _whole(table, member)
            longest = pc.max(pc.utf8_length(columns[name])).as_py()
            if longest is not None and longest > MAX_WORD:
                return None
        return pa.record_batch(columns), self._kept(table, columns)

    def _kept(self, table: pa.Table, columns: dict[str, Any]) -> pa.RecordBatch | None:
        if not self._keys:
            return None
        return pa.record_batch(
            {
                name: columns[name] if name in RESERVED else _whole(table, name).cast(pa.string())
                for name in self._keys
            }
        )


def _whole(table: pa.Table, name: str) -> Any:
    """A column as one array."""
    found = table.column(name).combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
