"""Read segments: live ones by their tail, those of dead writers to the end, damaged ones past it.

A frame that does not check out is one of three things. In a live segment it is the writer's next
frame, not finished yet. At the end of a dead one it is the torn last frame of a killed process,
whose answer was never sent. Before other good frames it is damage: it is skipped, counted, and the
missing sequence numbers tell which records it held.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from zlib import crc32

from msgspec import Struct

from serving.audit.frame import (
    ANSWERED_AT,
    FRAME_BYTES,
    FRAME_HEADER,
    HEADER_BYTES,
    KINDS,
    LENGTH_MASK,
    SEAL,
    SegmentError,
    SegmentHeader,
    header_from_name,
    salt_of,
    unpack_header,
)


class Frame(Struct, frozen=True, gc=False):
    """One intact frame: kind, sequence, payload, and the offsets where it begins and ends."""

    kind: int
    seq: int
    payload: bytes
    start: int
    end: int


class SegmentReader:
    """Reads one segment file, also while its writer appends.

    Attributes:
        header: who writes it; taken from the file's name when the header is damaged.
        header_damaged: the header did not check out.
        at: offset behind the last frame given out.
        sealed: the seal was read: nothing follows.
        damaged_bytes: bytes skipped to find the next good frame.
        damaged_places: how often that happened.

    Raises:
        SegmentError: neither the header nor the name is that of a segment.
    """

    def __init__(self, path: Path, at: int = HEADER_BYTES) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._fd).st_size
            self._map = mmap.mmap(self._fd, self.size, prot=mmap.PROT_READ) if self.size else None
            self.header, self.header_damaged = self._read_header()
        except BaseException:
            os.close(self._fd)
            raise
        self._salt = salt_of(self.header.boot)
        self.at = max(at, HEADER_BYTES)
        self.last_seq = 0
        self.sealed = False
        self.damaged_bytes = 0
        self.damaged_places = 0

    def _read_header(self) -> tuple[SegmentHeader, bool]:
        try:
            return unpack_header(self._map[:HEADER_BYTES] if self._map else b""), False
        except (SegmentError, UnicodeDecodeError):
            return header_from_name(self.path), True

    def close(self) -> None:
        """Unmap and close the file."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def answered(self) -> int:
        """Answers that the writer noted as sent in its boot so far."""
        if self._map is None or self.size < HEADER_BYTES:
            return 0
        return int(struct.unpack_from("<Q", self._map, ANSWERED_AT)[0])

    def writer_lives(self) -> bool:
        """Whether the process that writes this file holds it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def frame_at(self, at: int) -> Frame | None:
        """The intact frame that begins at ``at``, or None."""
        mapped = self._map
        if mapped is None or at + FRAME_BYTES > self.size:
            return None
        crc, word, seq = FRAME_HEADER.unpack_from(mapped, at)
        kind = word >> 24
        if kind not in KINDS:
            return None
        end = at + FRAME_BYTES + (word & LENGTH_MASK)
        if end > self.size:
            return None
        payload = mapped[at + FRAME_BYTES : end]
        if crc32(payload, (word ^ seq ^ seq >> 32 ^ self._salt) & 0xFFFF_FFFF) != crc:
            return None
        return Frame(kind, seq, payload, at, (end + 7) & -8)

    def frames(self, *, dead: bool) -> Iterator[Frame]:
        """Frames from ``at`` on, seal included, moving ``at`` behind each.

        Args:
            dead: the writer lives no more, so a bad frame cannot become good. Pass what
                :meth:`writer_lives` said *before* the call: a frame written in between is
                then read by the next call.
        """
        while not self.sealed:
            frame = self.frame_at(self.at)
            if frame is None:
                # Only damage is followed by good frames; a live tail or a torn end is not.
                later = self._next_good(self.at + 8) if dead or self._nonzero(self.at) else None
                # The writer may have finished this frame and the next while we searched.
                frame = self.frame_at(self.at) or later
                if frame is None:
                    return
                if frame is later:
                    self.damaged_bytes += frame.start - self.at
                    self.damaged_places += 1
            self.at = frame.end
            self.last_seq = frame.seq
            self.sealed = frame.kind == SEAL
            yield frame

    def torn_bytes(self) -> int:
        """Bytes behind ``at`` up to the last one that is not zero: what a killed writer left."""
        if self._map is None or self.at >= self.size:
            return 0
        return len(self._map[self.at :].rstrip(b"\0"))

    def _nonzero(self, at: int) -> bool:
        return self._map is not None and self._map[at : at + FRAME_BYTES].strip(b"\0") != b""

    def _next_good(self, at: int) -> Frame | None:
        """First intact frame at or behind ``at`` whose sequence continues upwards."""
        for start in self._candidates(at):
            frame = self.frame_at(start)
            if frame is not None and frame.seq >= self.last_seq:
                return frame
        return None

    def _candidates(self, at: int) -> Iterator[int]:
        """Aligned offsets at or behind ``at`` where the byte that holds the kind could be one."""
        mapped = self._map
        if mapped is None:
            return
        tail = mapped[at:]
        end = len(tail.rstrip(b"\0"))
        for index in range(7, end, 8):
            if tail[index] in KINDS:
                yield at + index - 7


def scan(path: Path, at: int = HEADER_BYTES) -> Iterator[tuple[int, int, bytes]]:
    """Records and events of a segment whose writer is gone: (sequence, offset, payload).

    Torn and damaged frames are passed over; use :class:`SegmentReader` to count them.
    """
    with SegmentReader(path, at) as reader:
        for frame in reader.frames(dead=True):
            if frame.kind != SEAL:
                yield frame.seq, frame.start, frame.payload


def remove_drafts(folder: Path, older_than_s: float, now_s: float) -> int:
    """Delete segments that a killed worker had begun to make and nobody holds; returns how many.

    Args:
        folder: a node's spool folder.
        older_than_s: younger ones may be between being made and being locked.
        now_s: wall clock, as the file system's.
    """
    removed = 0
    for path in folder.glob("*-*-*.new"):
        try:
            with path.open("rb") as file:
                if now_s - os.fstat(file.fileno()).st_mtime > older_than_s:
                    fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
                    path.unlink()
                    removed += 1
        except (BlockingIOError, FileNotFoundError):  # its maker lives, or has just finished it
            continue
    return removed
