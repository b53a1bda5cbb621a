"""Rows of CSV, one per line.

An empty cell is MISSING, ``""`` is an empty text; ``_id``, ``_subject`` and ``_context.NAME`` are
reserved columns.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from compiler.errors import AppError
from compiler.schema import CONTEXT_PREFIX, Feature
from router.errors import BodyError
from router.release.spec import ReleaseContent
from router.wire.native import MAX_WORD, Row

ID, SUBJECT, CONTEXT = "_id", "_subject", "_context."
NUMBERS = frozenset({"int", "float", "float32", "decimal"})
_json = msgspec.json.Encoder().encode
_number = msgspec.json.Decoder(int | float).decode


def split_line(line: str) -> list[str | None]:
    """Cells of one line; None for an empty one, text for a quoted one.

    >>> split_line('1,,"","a ""b"", c"')
    ['1', None, '', 'a "b", c']

    Raises:
        BodyError: a quote that is not closed, or text behind one.
    """
    if '"' not in line:
        return [cell or None for cell in line.split(",")]
    cells: list[str | None] = []
    at, end = 0, len(line)
    while True:
        if at < end and line[at] == '"':
            text, at = _quoted(line, at + 1)
            cells.append(text)
        else:
            stop = line.find(",", at)
            stop = end if stop < 0 else stop
            cells.append(line[at:stop] or None)
            at = stop
        if at >= end:
            return cells
        at += 1
        if at == end:
            cells.append(None)
            return cells


def _quoted(line: str, at: int) -> tuple[str, int]:
    """Text of a quoted cell and the place behind its last quote."""
    text = ""
    while True:
        stop = line.find('"', at)
        if stop < 0:
            raise BodyError("a quote is not closed on its line", code="body.csv")
        text += line[at:stop]
        if line[stop + 1 : stop + 2] != '"':
            break
        text += '"'
        at = stop + 2
    if stop + 1 < len(line) and line[stop + 1] != ",":
        raise BodyError("expected a comma behind a quote", code="body.csv")
    return text, stop + 1


class CsvReader:
    """Turns lines into requests.

    Args:
        header: the first line.
        content: of the endpoint.

    Raises:
        BodyError: no header, or a column twice.
    """

    def __init__(self, header: bytes, content: ReleaseContent) -> None:
        try:
            text = header.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise BodyError(f"the header is not UTF-8: {error.reason}", code="body.csv") from None
        names = [cell or "" for cell in split_line(text)]
        if not any(names):
            raise BodyError("expected a header line with the names of features", code="body.csv")
        if len(set(names)) != len(names):
            raise BodyError("a column comes twice in the header", code="body.csv")
        self._names = names
        self._kinds = {name: _kind(name, content) for name in names}

    def row(self, line: bytes) -> Row | AppError:
        """One request, or what is wrong with its line."""
        try:
            return self._row(split_line(line.decode().rstrip("\r")))
        except UnicodeDecodeError as error:
            return BodyError(f"the line is not UTF-8: {error.reason}", code="body.csv")
        except BodyError as error:
            return error

    def _row(self, cells: list[str | None]) -> Row:
        if len(cells) != len(self._names):
            raise BodyError(f"expected {len(self._names)} cells, got {len(cells)}", code="body.csv")
        features: dict[str, Any] = {}
        context: dict[str, Any] = {}
        row = Row(Raw(b"{}"))
        for name, cell in zip(self._names, cells, strict=True):
            if cell is None:
                continue
            if name in {ID, SUBJECT}:
                if len(cell) > MAX_WORD:
                    raise BodyError(f"expected at most {MAX_WORD} characters", at=name)
                setattr(row, name[1:], cell)
            elif name.startswith(CONTEXT):
                context[name.removeprefix(CONTEXT)] = read_cell(cell, self._kinds[name])
            else:
                features[name] = read_cell(cell, self._kinds[name])
        row.features = Raw(_json(features))
        if context:
            row.context = Raw(_json(context))
        return row


def _kind(name: str, content: ReleaseContent) -> str:
    if name.startswith(CONTEXT):
        name = CONTEXT_PREFIX + name.removeprefix(CONTEXT)
    feature: Feature | None = content.features.get(name)
    return feature.type if feature is not None else ""


def read_cell(cell: str, kind: str) -> Any:
    """A cell as the JSON value of its feature; text that is none stays text and is refused later.

    >>> read_cell("1.5", "float"), read_cell("true", "bool"), read_cell("x", "int")
    (1.5, True, 'x')
    """
    if kind in NUMBERS:
        if kind == "decimal":
            return cell
        try:
            return _number(cell.strip().encode())
        except msgspec.MsgspecError:
            return cell
    if kind == "bool":
        return {"true": True, "false": False, "1": True, "0": False}.get(cell.strip().lower(), cell)
    return cell
