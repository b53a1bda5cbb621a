"""Counters that cost tens of nanoseconds: int64 slots in one memory-mapped file per worker.

A file holds its own names, so that any worker can sum the files of all, dead ones included,
whatever releases each of them has loaded. Slots are never given back while a file lives.

    64 bytes   header: magic, number of slots, bytes of names in use
    8 x SLOTS  values, native int64
    NAMES      one line per slot, in order: ``name{label="value",...}``
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"ILKMET01"
HEADER = 64
SLOTS = 8192
NAMES = 1 << 20
SIZE = HEADER + 8 * SLOTS + NAMES
NAMES_AT = HEADER + 8 * SLOTS
LENGTH_AT = 16
USABLE = SLOTS - 64
"""The slots behind are scratch: blocks that find no room count there and are never shown."""
OVERFLOW = "interlock_metric_series_dropped_total"
_length = struct.Struct("<q")


def series(name: str, /, **labels: object) -> str:
    """A series in the text format of Prometheus.

    >>> series("requests_total", endpoint="credit", status=200)
    'requests_total{endpoint="credit",status="200"}'
    """
    if not labels:
        return name
    inside = ",".join(f'{key}="{_escape(str(value))}"' for key, value in labels.items())
    return f"{name}{{{inside}}}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Counters:
    """The slots of one worker.

    Attributes:
        values: the slots; ``values[slot] += 1`` counts.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.worker = worker
        self.path = folder / f"{worker}-{os.getpid()}.counters"
        draft = self.path.with_suffix(".new")
        self._fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # tells others that this worker lives
        os.ftruncate(self._fd, SIZE)
        self._map = mmap.mmap(self._fd, SIZE)
        self._map[:8] = MAGIC
        self._view = memoryview(self._map)
        self.values = self._view[HEADER:NAMES_AT].cast("q")
        self._slots: dict[str, int] = {}
        self._names_end = 0
        self.slot(OVERFLOW)
        self._adopt_dead()
        draft.rename(self.path)

    def slot(self, name: str) -> int:
        """Slot of a series; a full file counts everything further in one overflow slot."""
        known = self._slots.get(name)
        if known is not None:
            return known
        line = name.encode() + b"\n"
        number = len(self._slots)
        if number >= USABLE or self._names_end + len(line) > NAMES:
            self.values[0] += 1
            return 0
        at = NAMES_AT + self._names_end
        self._map[at : at + len(line)] = line
        self._names_end += len(line)
        _length.pack_into(self._map, LENGTH_AT, self._names_end)
        self._slots[name] = number
        return number

    def block(self, names: list[str]) -> int:
        """First of as many neighbouring slots as there are names; scratch slots when full."""
        known = self._slots.get(names[0])
        if known is not None:
            return known
        size = sum(len(name.encode()) + 1 for name in names)
        if len(self._slots) + len(names) > USABLE or self._names_end + size > NAMES:
            self.values[0] += len(names)
            return USABLE
        slots = [self.slot(name) for name in names]
        return slots[0]

    def add(self, name: str, amount: int = 1) -> None:
        """Count off the hot path."""
        self.values[self.slot(name)] += amount

    def set(self, name: str, value: int) -> None:
        """Set a gauge."""
        self.values[self.slot(name)] = value

    def _adopt_dead(self) -> None:
        """Take over what a dead process of this worker number counted, gauges excepted."""
        for path in sorted(self.folder.glob(f"{self.worker}-*.counters")):
            if path == self.path or not _is_dead(path):
                continue
            for name, value in read_file(path):
                if not is_gauge(name):
                    self.add(name, value)
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; its values stay for the others to sum."""
        self.values.release()
        self._view.release()
        self._map.close()
        os.close(self._fd)


def is_gauge(name: str) -> bool:
    """Whether a series is a level, not a count: levels of dead workers are forgotten."""
    base = name.partition("{")[0]
    return not base.endswith(("_total", "_bucket", "_sum", "_count"))


def _is_dead(path: Path) -> bool:
    """Whether the file's worker lives no longer (it would hold the lock)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def read_file(path: Path) -> Iterator[tuple[str, int]]:
    """Series and values of one file; nothing from a file that is gone or foreign."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    if len(raw) < NAMES_AT or raw[:8] != MAGIC:
        return
    (used,) = _length.unpack_from(raw, LENGTH_AT)
    names = raw[NAMES_AT : NAMES_AT + used].decode().split("\n")[:-1]
    values = memoryview(raw)[HEADER:NAMES_AT].cast("q")
    for slot, name in enumerate(names):
        yield name, values[slot]


def sum_files(folder: Path) -> dict[str, int]:
    """Sum of every series over all workers of the node; gauges of dead workers left out."""
    total: dict[str, int] = {}
    for path in sorted(folder.glob("*.counters")):
        dead = _is_dead(path)
        for name, value in read_file(path):
            if not (dead and is_gauge(name)):
                total[name] = total.get(name, 0) + value
    return total
