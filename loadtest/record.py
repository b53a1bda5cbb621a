"""What happened to each request: arrays in a file that generator and report both map.

Columns (int64 nanoseconds of the monotonic clock, 0 = did not happen):
    scheduled  when it was due           picked  when the generator turned to it
    sent       when its bytes left       first, last  first and last byte of the answer
and ``outcome`` (uint8, below), ``status`` (uint16), ``choice`` (uint32, index of the template).
A killed generator leaves everything it had written, so an interrupted run keeps its results.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

OUTCOMES = (
    "pending",  # not sent, or no answer yet
    "good",
    "connect",  # the connection could not be opened
    "reset",  # the server closed it before the answer was complete
    "timeout",
    "429",
    "503",
    "5xx",
    "status",  # any other status that is not expected
    "check",  # the answer came and was wrong
    "abandoned",  # the client walked away on purpose
    "protocol",  # the answer was not HTTP/1.1
)
(
    PENDING, GOOD, CONNECT, RESET, TIMEOUT, TOO_MANY, UNAVAILABLE, SERVER, STATUS, CHECK,
    ABANDONED, PROTOCOL,
) = range(len(OUTCOMES))  # fmt: skip

TIMES = ("scheduled", "picked", "sent", "first", "last")
_WIDTHS: tuple[tuple[str, str, int], ...] = (
    *((name, "q", 8) for name in TIMES),
    ("choice", "I", 4),
    ("status", "H", 2),
    ("outcome", "B", 1),
)
DTYPES = {
    name: np.dtype({"q": "<i8", "I": "<u4", "H": "<u2", "B": "u1"}[code])
    for name, code, _ in _WIDTHS
}
ROW_BYTES = sum(width for _, _, width in _WIDTHS)


class Cells:
    """Item access for the generator: a memoryview per column, faster than numpy for one cell."""

    __slots__ = (
        "_map", "choice", "first", "last", "outcome", "picked", "scheduled", "sent", "size",
        "status",
    )  # fmt: skip

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        whole = memoryview(self._map)
        at = 0
        for name, code, width in _WIDTHS:
            setattr(self, name, whole[at : at + size * width].cast(cast("Any", code)))
            at += size * width

    scheduled: memoryview
    picked: memoryview
    sent: memoryview
    first: memoryview
    last: memoryview
    choice: memoryview
    status: memoryview
    outcome: memoryview


class Records(Struct, frozen=True):
    """The same columns as numpy arrays, each of shape (requests,)."""

    scheduled: np.ndarray
    picked: np.ndarray
    sent: np.ndarray
    first: np.ndarray
    last: np.ndarray
    choice: np.ndarray
    status: np.ndarray
    outcome: np.ndarray

    def __len__(self) -> int:
        """Requests recorded."""
        return len(self.scheduled)

    def take(self, mask: np.ndarray) -> Records:
        """The requests that a boolean mask or an index array selects."""
        return Records(*(getattr(self, name)[mask] for name, _, _ in _WIDTHS))


def create(path: Path, size: int) -> None:
    """Make an empty, sparse record file for ``size`` requests."""
    with path.open("wb") as file:
        file.truncate(max(size, 1) * ROW_BYTES)


def open_records(path: Path, size: int) -> Records:
    """Map a record file; the arrays follow what the generator writes."""
    columns, at = [], 0
    for name, _, width in _WIDTHS:
        kind = DTYPES[name]
        columns.append(np.memmap(path, dtype=kind, mode="r+", offset=at, shape=(size,)))
        at += size * width
    return Records(*columns)


def merge(parts: list[Records]) -> Records:
    """One set of records in the order in which they were due; copies."""
    joined = Records(
        *(np.concatenate([np.asarray(getattr(part, name)) for part in parts])
          for name, _, _ in _WIDTHS)
    )  # fmt: skip
    return joined.take(np.argsort(joined.scheduled, kind="stable"))


def classify(status: int, expected: frozenset[int]) -> int:
    """Outcome of a complete answer by its status alone."""
    if status in expected:
        return GOOD
    if status == 429:
        return TOO_MANY
    if status == 503:
        return UNAVAILABLE
    return SERVER if status >= 500 else STATUS
