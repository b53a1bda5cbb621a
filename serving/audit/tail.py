"""Follow all segments of a node: those being written and those that dead workers left.

A stream is one writer in one boot. Its segments are read in order of number and only one is open
at a time, so a backlog of any size costs a few open files and one batch of memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from serving.audit.frame import FRAME_BYTES, HEADER_BYTES, SegmentError, header_from_name
from serving.audit.recover import Frame, SegmentReader

Place = tuple[str, int, int]
"""Boot, worker and number: what names a segment within a node."""


class Cursor(Struct, frozen=True):
    """How far the ledger says a segment is shipped."""

    to_off: int = HEADER_BYTES
    last_seq: int = 0
    closed: bool = False


class Range(Struct):
    """Bytes of one segment that go into one transaction.

    Attributes:
        writer: name of the writer.
        place: which segment.
        from_off: where it begins: the ledger's cursor.
        to_off: where it ends.
        frames: the intact frames in it, seal excluded.
        closed: nothing follows in the segment.
        damaged_bytes: bytes that were skipped because they did not check out.
        torn_bytes: bytes of a last frame that its killed writer did not finish.
        answered: answers that the writer noted as sent by then.
    """

    writer: str
    place: Place
    from_off: int
    to_off: int
    frames: list[Frame]
    closed: bool = False
    damaged_bytes: int = 0
    torn_bytes: int = 0
    answered: int = 0


def place_of(path: Path) -> Place | None:
    """Which segment a file is, by its name; None for other files."""
    try:
        header = header_from_name(path)
    except (SegmentError, FileNotFoundError):
        return None
    return header.boot, header.worker, header.number


def list_segments(folder: Path) -> dict[Place, Path]:
    """All segment files of a node, in order of boot, worker and number."""
    found = {}
    if folder.is_dir():
        for name in os.listdir(folder):  # noqa: PTH208 - names only, no Path per file
            if name.endswith(".seg"):
                path = folder / name
                place = place_of(path)
                if place is not None:
                    found[place] = path
    return dict(sorted(found.items()))


class Tail:
    """One open segment: what is committed, and what is already planned for transactions."""

    def __init__(self, path: Path, place: Place, node: str, cursor: Cursor) -> None:
        self.path = path
        self.place = place
        self._writer = f"{node}/{place[0]}/{place[1]}"
        self._reader = SegmentReader(path)
        self.committed = cursor
        self.planned = cursor

    def take(self, rows: int, size_bytes: int) -> Range | None:
        """The next range of at most so many frames and payload bytes, or None when nothing is new.

        Ranges follow each other whether or not they are committed yet; after a failure the whole
        tail is thrown away and opened again at the ledger's cursor.
        """
        reader, planned = self._reader, self.planned
        if planned.closed:
            return None
        reader.at = planned.to_off
        reader.last_seq = planned.last_seq
        reader.sealed = False
        damaged_before = reader.damaged_bytes
        dead = not reader.writer_lives()
        frames: list[Frame] = []
        exhausted = True
        for frame in reader.frames(dead=dead):
            if not reader.sealed:
                frames.append(frame)
            size_bytes -= len(frame.payload) + FRAME_BYTES
            if len(frames) >= rows or size_bytes <= 0:
                exhausted = reader.sealed
                break
        taken = Range(
            self._writer,
            self.place,
            planned.to_off,
            reader.at,
            frames,
            closed=reader.sealed or (dead and exhausted),
            damaged_bytes=reader.damaged_bytes - damaged_before,
            answered=reader.answered,
        )
        if taken.closed and not reader.sealed:
            # Nobody will write here again: the rest of the file is used up with this range.
            taken.torn_bytes = reader.torn_bytes()
            taken.to_off = max(reader.size, reader.at + 1)
        if taken.to_off <= taken.from_off:
            return None
        self.planned = Cursor(
            taken.to_off, frames[-1].seq if frames else planned.last_seq, taken.closed
        )
        return taken

    def commit(self, taken: Range) -> None:
        """The ledger covers the range now."""
        last = taken.frames[-1].seq if taken.frames else self.committed.last_seq
        self.committed = Cursor(taken.to_off, last, taken.closed)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class Spool:
    """The tails of all streams of a node.

    Args:
        root: root of the spool.
        node: name of the node.
        open_tails: segments open at once.
    """

    def __init__(self, root: Path, node: str, *, open_tails: int = 64) -> None:
        self.folder = root / node
        self.node = node
        self._open_tails = open_tails
        self._tails: dict[Place, Tail] = {}
        self._cursors: dict[Place, Cursor] = {}
        self._files: dict[Place, Path] = {}
        self._turn = 0

    def look(self) -> list[Place]:
        """List the folder; returns segments whose cursor is not known yet."""
        self._files = list_segments(self.folder)
        for gone in self._cursors.keys() - self._files.keys():
            self._forget(gone)
        return [place for place in self._files if place not in self._cursors]

    def learn(self, cursors: Mapping[Place, Cursor]) -> None:
        """Take the ledger's word for these segments."""
        for place, cursor in cursors.items():
            self._forget(place)
            self._cursors[place] = cursor

    def doubt(self) -> None:
        """Forget all cursors: after an unknown commit only the ledger knows."""
        for place in list(self._cursors):
            self._forget(place)

    def take(self, rows: int, size_bytes: int) -> list[Range]:
        """Ranges for one transaction, at most so many frames and bytes in all.

        Streams take turns at being first, so that a long backlog of one does not starve another.
        """
        ranges: list[Range] = []
        tails = list(self._heads())
        self._turn += 1
        first = self._turn % len(tails) if tails else 0
        for tail in tails[first:] + tails[:first]:
            taken = tail.take(rows, size_bytes)
            if taken is None:
                continue
            ranges.append(taken)
            rows -= len(taken.frames)
            size_bytes -= taken.to_off - taken.from_off
            if rows <= 0 or size_bytes <= 0:
                break
        return ranges

    def commit(self, ranges: Iterable[Range]) -> None:
        """The ledger covers these ranges now."""
        for each in ranges:
            tail = self._tails[each.place]
            tail.commit(each)
            self._cursors[each.place] = tail.committed
            if each.closed:
                self._tails.pop(each.place).close()

    def finished(self) -> list[tuple[Place, Path]]:
        """Segments that are closed and shipped, as far as this process remembers."""
        return [
            (place, path)
            for place, path in self._files.items()
            if place in self._cursors and self._cursors[place].closed
        ]

    def remove(self, place: Place) -> None:
        """Delete a segment file."""
        path = self._files.pop(place, None)
        self._forget(place)
        if path is not None:
            path.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """Bytes of all segment files."""
        total = 0
        for path in self._files.values():
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def waiting(self) -> int:
        """Segments that are not closed in the ledger."""
        return sum(1 for p in self._files if not self._cursors.get(p, Cursor()).closed)

    def streams(self) -> set[tuple[str, int]]:
        """Boot and worker of every stream that has files."""
        return {place[:2] for place in self._files}

    def _heads(self) -> Iterator[Tail]:
        """The first unfinished segment of each stream, opened; oldest boots last when many."""
        seen: set[tuple[str, int]] = set()
        for place, path in self._files.items():
            stream = place[:2]
            cursor = self._cursors.get(place)
            if stream in seen or (cursor is not None and cursor.closed):
                continue
            tail = self._tails.get(place)
            if tail is not None and tail.planned.closed:
                continue  # its last range is on the way: go on in the next segment
            seen.add(stream)
            if cursor is None:
                continue
            if tail is None:
                if len(self._tails) >= self._open_tails:
                    continue
                try:
                    tail = self._tails[place] = Tail(path, place, self.node, cursor)
                except FileNotFoundError:
                    continue
            yield tail

    def _forget(self, place: Place) -> None:
        self._cursors.pop(place, None)
        tail = self._tails.pop(place, None)
        if tail is not None:
            tail.close()

    def close(self) -> None:
        """Close all files."""
        for place in list(self._tails):
            self._forget(place)
