"""Answers and evidence of one block: what the endpoint decided, and the rows it could not read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct

from router.bulk.ids import row_ids
from serving.audit.parts import INPUT

if TYPE_CHECKING:
    from router.bulk.blocks import Bad, Block
    from router.bulk.manifest import Job
    from router.bulk.units import Unit

BAD_ROW = 422
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
ADDED = {
    "status": pa.int16(), "request_id": pa.string(), "subject_ref": pa.string(),
    "features": pa.binary(), "error": pa.string(),
}  # fmt: skip
"""Columns that rows of the evidence may have alone: what came, when it was no row."""
COLUMNS = (
    "row", "id", "rule", "model", "version", "decision", "label", "value", "outputs", "error",
)  # fmt: skip
"""Columns of every answer; key columns follow."""


class Decisions(Protocol):
    """What an endpoint decided about a batch.

    Attributes:
        result: one row per row of the batch, in ``COLUMNS``.
        evidence: the same rows as a columnar part keeps them.
        errors: rows with an error.
        routes: rows per model; a reject counts under ``""``.
    """

    @property
    def result(self) -> pa.RecordBatch: ...  # noqa: D102 - told above
    @property
    def evidence(self) -> Any: ...  # noqa: D102
    @property
    def errors(self) -> int: ...  # noqa: D102
    @property
    def routes(self) -> Mapping[str, int]: ...  # noqa: D102


Decide = Callable[["pa.RecordBatch", int, Any], Decisions]
"""(columns, number of the first row, ids as bytes of shape (rows, 16)) to decisions."""


class Scored(Struct, frozen=True):
    """One block, answered.

    Attributes:
        unit: it belongs to.
        last: nothing of the unit follows.
        rows: rows answered.
        result: answers with key columns.
        evidence: what is kept of them; rows that were no rows are not in it.
        errors: rows with an error.
        routes: rows per model.
        received_ns: wall clock before the first row.
        decided_ns: wall clock after the last.
    """

    unit: Unit
    last: bool
    rows: int
    result: pa.Table
    evidence: pa.Table
    errors: int
    routes: Mapping[str, int]
    received_ns: int
    decided_ns: int


class Scorer:
    """Answers blocks; used by several threads at once.

    Args:
        decide: the endpoint.
        job: fixes ids.
        subject_ref: keyed hash of a subject.
        protected: features that the evidence must not hold.
    """

    def __init__(
        self,
        decide: Decide,
        job: Job,
        subject_ref: Callable[[str], str],
        protected: frozenset[str] = frozenset(),
    ) -> None:
        self._decide = decide
        self._job = job
        self._subject_ref = subject_ref
        self._protected = protected

    def __call__(self, block: Block) -> Scored:
        """Answer one block."""
        received_ns = time.time_ns()
        job = self._job
        ids = row_ids(job.id, job.now_us, block.unit.file, block.first_row, block.rows)
        if not block.bad:
            found = self._decide(block.batch, block.first_row, ids)
            result = pa.Table.from_batches([found.result])
            evidence = _table(found.evidence)
            errors = found.errors
        else:
            sound = np.ones(block.rows, bool)
            sound[list(block.bad)] = False
            places = np.flatnonzero(sound)
            found = self._decide(block.batch, block.first_row, ids[places])
            numbers = pa.array(block.first_row + places, pa.int64())
            result = _renumbered(pa.Table.from_batches([found.result]), numbers)
            evidence = _renumbered(_table(found.evidence), numbers)
            result, evidence = self._with_bad(block, ids, result, evidence)
            errors = found.errors + len(block.bad)
        for name, column in zip(
            block.keys.schema.names if block.keys else (),
            block.keys.columns if block.keys else (),
            strict=True,
        ):
            result = result.append_column(name, column)
        secret = [INPUT + name for name in self._protected]
        evidence = evidence.drop_columns([n for n in evidence.column_names if n in secret])
        return Scored(
            block.unit, block.last, block.rows, result, evidence, errors, found.routes,
            received_ns, time.time_ns(),
        )  # fmt: skip

    def _with_bad(
        self, block: Block, ids: Any, result: pa.Table, evidence: pa.Table
    ) -> tuple[pa.Table, pa.Table]:
        """Rows that could not be read take their places."""
        answers = []
        kept = []
        for place, bad in sorted(block.bad.items()):
            number, raw = block.first_row + place, ids[place].tobytes()
            answers.append({"row": number, "id": raw, "error": str(bad)})
            if bad.features is not None:
                kept.append(self._evidence(number, raw, bad))
        return _merged(result, answers), _merged(evidence, kept)

    def _evidence(self, number: int, raw: bytes, bad: Bad) -> dict[str, Any]:
        return {
            "row": number,
            "id": raw,
            "status": BAD_ROW,
            "request_id": bad.id,
            "subject_ref": self._subject_ref(bad.subject) if bad.subject else None,
            "features": self._without_protected(bad.features),
            "error": str(bad),
        }

    def _without_protected(self, raw: bytes | None) -> bytes | None:
        """Received features without those that evidence must not hold."""
        if raw is None or not self._protected:
            return raw
        try:
            members = _members(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        kept = {name: value for name, value in members.items() if name not in self._protected}
        return msgspec.json.encode(kept)


def _table(found: Any) -> pa.Table:

    return pa.Table.from_batches([found]) if isinstance(found, pa.RecordBatch) else found


def _renumbered(table: pa.Table, numbers: pa.Array) -> pa.Table:
    """The same rows with other numbers."""
    place = table.schema.get_field_index("row")
    return table.set_column(place, table.schema.field(place), numbers)


def _merged(table: pa.Table, rows: list[dict[str, Any]]) -> pa.Table:
    """A table with some rows put in, by their number; columns that it lacks are added."""
    import pyarrow.compute as pc

    if not rows:
        return table
    columns = {}
    for name in rows[0]:
        known = name in table.schema.names
        kind = table.schema.field(name).type if known else ADDED[name]
        values = [each[name] for each in rows]
        if name == "id" and pa.types.is_string(kind):
            values = [uuid_word(each) for each in values]
        columns[name] = pa.array(values, kind)
    whole = pa.concat_tables([table, pa.table(columns)], promote_options="permissive")
    whole = whole.unify_dictionaries()
    return whole.take(pc.sort_indices(whole.column("row"))).combine_chunks()


def uuid_word(raw: bytes) -> str:
    """An id as it is written."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
