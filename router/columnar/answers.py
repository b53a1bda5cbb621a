"""Answers of a stream: one result per row, as a line of JSON or CSV or in an Arrow batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from router.problem import ProblemDocument

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = "row,id,rule,model,version,decision,label,value,outputs,error"
_json = msgspec.json.Encoder().encode
_lines = msgspec.json.Encoder().encode_lines


class Result(Struct, omit_defaults=True, gc=False):
    """One line of the answer; the same whatever the route."""

    row: int
    id: str = ""
    rule: str = ""
    model: str | None = None
    version: int | None = None
    decision: str | None = None
    label: str | None = None
    value: float | int | None = None
    outputs: Raw | None = None
    error: ProblemDocument | None = None


NULL = Raw(b"null")


def results_of(batch: pa.RecordBatch, problems: Mapping[int, ProblemDocument]) -> list[Result]:
    """Rows of a batch as results.

    Args:
        batch: in the columns of :class:`router.columnar.decide.Decisions`.
        problems: error documents by number of the row.
    """
    columns = [batch.column(name).to_pylist() for name in COLUMNS.split(",")[:-2]]
    outputs = [
        NULL if text is None else Raw(text.encode()) for text in batch.column("outputs").to_pylist()
    ]
    found = list(map(Result, *columns, outputs))
    for place, number in enumerate(columns[0]):
        if number in problems:
            found[place] = Result(number, error=problems[number])
    return found


def json_lines(results: list[Result]) -> bytes:
    """Results as NDJSON."""
    return _lines(results)


def csv_lines(results: list[Result]) -> bytes:
    """Results as CSV."""
    return "".join(map(_csv_line, results)).encode()


def _csv_line(result: Result) -> str:
    cells = (
        result.row,
        result.id,
        result.rule,
        result.model,
        result.version,
        result.decision,
        result.label,
        result.value,
        None if result.outputs is None else bytes(result.outputs).decode(),
        None if result.error is None else _json(result.error).decode(),
    )
    return ",".join(map(_cell, cells)) + "\n"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    if any(each in text for each in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def arrow_schema() -> pa.Schema:
    """Columns of an Arrow answer."""
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),
            ("id", pa.string()),
            ("rule", pa.string()),
            ("model", pa.string()),
            ("version", pa.int64()),
            ("decision", pa.string()),
            ("label", pa.string()),
            ("value", pa.float64()),
            ("outputs", pa.string()),
            ("error", pa.string()),
        ]
    )


def arrow_batch(results: list[Result]) -> pa.RecordBatch:
    """Results as one Arrow batch; an error is ``code: message``."""
    import pyarrow as pa

    rows = [
        {
            "row": each.row,
            "id": each.id or None,
            "rule": each.rule or None,
            "model": each.model,
            "version": each.version,
            "decision": each.decision,
            "label": each.label,
            "value": each.value,
            "outputs": _plain(each.outputs),
            "error": None if each.error is None else words_of(each.error),
        }
        for each in results
    ]
    return pa.RecordBatch.from_pylist(rows, arrow_schema())


def _plain(outputs: Raw | None) -> str | None:
    text = b"null" if outputs is None else bytes(outputs)
    return None if text == b"null" else text.decode()


def words_of(problem: ProblemDocument) -> str:
    """An error document on one line: its first problem."""
    return f"{problem.code}: {problem.detail}"
