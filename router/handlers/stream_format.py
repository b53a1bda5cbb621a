"""The three forms of a stream: how an answer begins, what a result looks like, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from compiler.errors import AppError
from router.columnar.answers import (
    COLUMNS,
    Result,
    arrow_batch,
    arrow_schema,
    csv_lines,
    json_lines,
)
from router.columnar.ipc import END
from router.problem import document

NDJSON = b"application/x-ndjson"
CSV = b"text/csv"
ARROW = b"application/vnd.apache.arrow.stream"
_json = msgspec.json.Encoder().encode


class Format(Struct, frozen=True):
    """One form.

    Attributes:
        content_type: of the answer.
        head: bytes before the first result.
        write: bytes of results.
        end: bytes behind the last result.
        broken: bytes that say why no further result comes: number of the next row, and the error.
    """

    content_type: bytes
    head: Callable[[], bytes]
    write: Callable[[list[Result]], bytes]
    end: bytes
    broken: Callable[[int, AppError], bytes]

    def start(self) -> dict[str, Any]:
        """The message that begins the answer."""
        headers = [(b"content-type", self.content_type)]
        return {"type": "http.response.start", "status": 200, "headers": headers}


def _broken_line(_: int, error: AppError) -> bytes:
    return _json({"error": document(error)}) + b"\n"


def _write_arrow(results: list[Result]) -> bytes:
    return arrow_batch(results).serialize().to_pybytes() if results else b""


def _broken_arrow(number: int, error: AppError) -> bytes:
    """A last row with the error; without the end of a stream readers know that it is not whole."""
    return _write_arrow([Result(number, error=document(error))])


_FORMATS = {
    NDJSON: Format(NDJSON, lambda: b"", json_lines, b"", _broken_line),
    CSV: Format(CSV, lambda: COLUMNS.encode() + b"\n", csv_lines, b"", _broken_line),
    ARROW: Format(
        ARROW,
        lambda: arrow_schema().serialize().to_pybytes(),
        _write_arrow,
        END,
        _broken_arrow,
    ),
}


def format_of(content_type: bytes) -> Format:
    """The form that a request says it has; NDJSON when it says nothing known."""
    for kind, found in _FORMATS.items():
        if content_type.startswith(kind):
            return found
    return _FORMATS[NDJSON]
