"""The spool's writer: appends frames to memory-mapped files that survive the death of the process.

One writer per worker process, one thread appends. The pages of the mapping belong to the kernel,
so a record is safe from SIGKILL as soon as ``append`` returns. A helper thread creates, allocates
and faults in the next file ahead of need, and closes the last one; the append path makes no system
call, takes no lock and allocates nothing but integers.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from compiler.errors import AppError
from serving.audit.frame import (
    ANSWERED_AT,
    EVENT,
    FRAME_BYTES,
    FRAME_HEADER,
    GAP,
    GAP_BODY,
    HEADER_BYTES,
    MAX_PAYLOAD,
    RECORD,
    SEAL,
    SEAL_BODY,
    SEAL_BYTES,
    SegmentHeader,
    pack_header,
    salt_of,
)
from serving.audit.mapped import Segment, release
from serving.audit.prefault import prefault
from serving.audit.room import Room, SpoolFull, spool_bytes
from serving.files import sync_folder
from serving.priority import give_way

MIB = 1 << 20
WRAP = 1 << 32
pack_header_into = FRAME_HEADER.pack_into
RETRY_S = 0.1
"""Pause before the helper looks again whether a full spool has room."""


class RecordTooLarge(AppError):  # noqa: N818 - names the record, not the reaction
    """The record does not fit a segment."""

    code = "audit.record_too_large"


class SegmentWriter:
    """Appends records of one worker; sequence numbers are gapless from 1 within its boot.

    Args:
        directory: root of the spool; files go to ``directory/node``.
        node: name of this node.
        worker: number of this worker within the node.
        segment_bytes: size of each file.
        spool_limit_bytes: no new file is made while the node's files and the new one exceed this.
        clock: wall clock in ns.

    Raises:
        SpoolFull: not even the first two files could be made.
    """

    def __init__(
        self,
        directory: Path,
        node: str,
        worker: int,
        *,
        segment_bytes: int = 8 * MIB,
        spool_limit_bytes: int = 16 * 1024 * MIB,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder = directory / node
        self.folder.mkdir(parents=True, exist_ok=True)
        self.node = node
        self.worker = worker
        self.room = Room(self.folder, spool_limit_bytes)
        self.boot = secrets.token_hex(8)
        self.last_seq = 0
        self.dropped = 0
        self.answered = 0
        self.full_reason = ""
        self.sync_failures = 0
        self._unsynced: OSError | None = None
        self._forced = False
        self._segment_bytes = max(segment_bytes, 4 * mmap.PAGESIZE) & -mmap.PAGESIZE
        self._spool_limit_bytes = spool_limit_bytes
        self._clock = clock
        self._salt = salt_of(self.boot)
        self._number = 0
        self._gap_first_ns = 0
        self._gap = 0
        self._current = self._create()
        self._spare: Segment | None = None
        self._retired: list[Segment] = []
        self._closing = False
        self._wanted = threading.Condition()
        self._creating = threading.Lock()
        self._map = self._current.map
        self._at = self._current.at
        self._limit = self._current.limit
        self._helper = threading.Thread(target=self._keep_ahead, name="spool-ahead", daemon=True)
        self._helper.start()

    @property
    def max_payload(self) -> int:
        """Largest payload that always finds room in a fresh segment, bytes."""
        return min(MAX_PAYLOAD, self._segment_bytes - HEADER_BYTES - SEAL_BYTES - FRAME_BYTES - 64)

    def append(self, payload: bytes, kind: int = RECORD) -> int:
        """Keep a record; returns its sequence number once it survives the death of this process.

        Raises:
            SpoolFull: the current file is full and no other could be made.
            RecordTooLarge: the payload exceeds ``max_payload``.

        Cost: about 0.7 us for 400 bytes.
        """
        at = self._at
        size = len(payload)
        body = at + FRAME_BYTES
        end = body + size
        if end > self._limit or self._gap:
            at = self._make_room(size)
            body = at + FRAME_BYTES
            end = body + size
        seq = self.last_seq + 1
        word = (kind << 24) + size
        mapped = self._map
        mapped[body:end] = payload
        start = (word ^ seq ^ self._salt) & 0xFFFF_FFFF if seq < WRAP else self._start(word, seq)
        pack_header_into(mapped, at, crc32(payload, start), word, seq)
        self._at = (end + 7) & -8
        self.last_seq = seq
        return seq

    def _start(self, word: int, seq: int) -> int:
        """Start value of the CRC when the sequence has more than 32 bits."""
        return (word ^ seq ^ seq >> 32 ^ self._salt) & 0xFFFF_FFFF

    def append_event(self, payload: bytes) -> int:
        """Keep a linked event; like :meth:`append`."""
        return self.append(payload, EVENT)

    def drop(self) -> int:
        """Count a record that the ``drop_new`` policy gives up; it keeps its sequence number.

        The count is written as a gap frame before the next record that fits.
        """
        if not self._gap:
            self._gap_first_ns = self._clock()
        self._gap += 1
        self.dropped += 1
        self.last_seq += 1
        return self.last_seq

    def count_answer(self) -> None:
        """Note that one more answer was given to the transport (for completeness certificates)."""
        self.answered += 1
        if not self._closing:
            self._map[ANSWERED_AT:HEADER_BYTES] = self.answered.to_bytes(8, "little")

    def close(self) -> None:
        """Seal the current file, release everything. The writer appends nothing afterwards."""
        with self._wanted:
            if self._closing:
                return
            self._closing = True
            self._wanted.notify()
        self._helper.join()
        self._write_gap()
        self._seal()
        for segment in (*self._retired, self._current):
            release(segment)
        self._retired.clear()
        if self._spare is not None:
            self._spare.path.unlink(missing_ok=True)
            release(self._spare)
            self._spare = None
        self._limit = 0

    def sync(self) -> int:
        """Force everything appended since the first call to the disk; returns the last sequence.

        Call it from a thread; it does not block appends. From the first call on, full files are
        forced too before they are let go; without it their pages are left to the kernel.

        Raises:
            OSError: the disk refused a file, now or since the last call.
        """
        first = not self._forced
        self._forced = True
        refused, self._unsynced = self._unsynced, None
        if refused is not None:
            raise refused
        seq = self.last_seq
        with self._wanted:
            wanted = [*self._retired, self._current]
            if first and self._spare is not None:
                wanted.append(self._spare)
            files = [os.dup(each.fd) for each in wanted]
        for fd in files:
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        if first:
            sync_folder(self.folder)
        return seq

    def _make_room(self, size: int) -> int:
        """Offset for a payload of ``size`` after writing an owed gap or turning to a new file."""
        if size > self.max_payload:
            raise RecordTooLarge(
                f"expected at most {self.max_payload} bytes, got {size}",
                hint="send fewer rows or smaller features in one request",
            )
        if self._closing:
            raise SpoolFull("the spool is closed", hint="the worker is stopping")
        need = FRAME_BYTES + size + (FRAME_BYTES + GAP_BODY.size if self._gap else 0)
        if self._at + need > self._limit:
            self._rotate()
        self._write_gap()
        return self._at

    def _rotate(self) -> None:
        """Continue in the spare file and let the helper prepare the next one."""
        if self._spare is None and not self.full_reason:
            with self._creating:  # the helper was outrun: wait for it, or pay once here
                if self._spare is None:
                    self._spare = self._try_create()
        with self._wanted:
            spare = self._spare
            if spare is None:
                self._wanted.notify()
                raise SpoolFull(
                    self.full_reason or "no room in the spool",
                    at=str(self.folder),
                    hint="bring the database back or give the spool more room",
                )
            self._seal()
            self._retired.append(self._current)
            self._spare = None
            self._current = spare
            self._map, self._at, self._limit = spare.map, spare.at, spare.limit
            self._map[ANSWERED_AT:HEADER_BYTES] = self.answered.to_bytes(8, "little")
            self._wanted.notify()

    def _write_gap(self) -> None:
        if not self._gap:
            return
        end = self._at + FRAME_BYTES + GAP_BODY.size
        if end > self._limit:
            return
        self._frame(GAP, GAP_BODY.pack(self._gap, self._gap_first_ns))
        self._gap = 0

    def _seal(self) -> None:
        self._frame(SEAL, SEAL_BODY.pack(0, self.answered))

    def _frame(self, kind: int, payload: bytes) -> None:
        """Write a frame of our own at the current offset; it repeats the last sequence number."""
        body = self._at + FRAME_BYTES
        end = body + len(payload)
        seq = self.last_seq
        word = kind << 24 | len(payload)
        self._map[body:end] = payload
        start_value = (word ^ seq ^ seq >> 32 ^ self._salt) & 0xFFFF_FFFF
        FRAME_HEADER.pack_into(self._map, self._at, crc32(payload, start_value), word, seq)
        self._at = (end + 7) & -8

    def _keep_ahead(self) -> None:
        """Helper thread: one spare file ready at all times, used ones synced and closed."""
        give_way()  # its work is milliseconds of page faults: they must not hold up answers
        while True:
            with self._wanted:
                if self._closing:
                    return
                if self._spare is not None and not self._retired:
                    self._wanted.wait()
                    continue
                retired = list(self._retired)
            for segment in retired:
                self._sync_retired(segment)
            with self._creating:
                if self._spare is None:
                    self._spare = self._try_create()
            with self._wanted:
                if self._spare is None and not self._closing:
                    self._wanted.wait(RETRY_S)

    def _sync_retired(self, segment: Segment) -> None:
        """Put a used file on the disk if anybody counts on that, then let go of it."""
        try:
            if self._forced:
                os.fdatasync(segment.fd)
        except OSError as error:  # told to whoever waits: the file is not looked at again
            self.sync_failures += 1
            self._unsynced = error
        with self._wanted:
            self._retired.remove(segment)
        release(segment)

    def _try_create(self) -> Segment | None:
        try:
            segment = self._create()
        except SpoolFull as error:
            self.full_reason = error.message
            return None
        self.full_reason = ""
        return segment

    def _create(self) -> Segment:
        """Make a file that cannot run out of room: allocated, mapped, faulted in, locked."""
        used = spool_bytes(self.folder)
        if used + self._segment_bytes > self._spool_limit_bytes:
            raise SpoolFull(
                f"the spool holds {used} of {self._spool_limit_bytes} bytes", at=str(self.folder)
            )
        self._number += 1
        header = SegmentHeader(
            self.node, self.boot, self.worker, self._number, self._segment_bytes, self._clock()
        )
        path = self.folder / header.name
        draft = path.with_suffix(".new")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # tells readers that the writer lives
            os.posix_fallocate(fd, 0, self._segment_bytes)
            mapped = mmap.mmap(fd, self._segment_bytes)
            prefault(fd, mapped)
            mapped[:HEADER_BYTES] = pack_header(header)
            if self._forced:  # else the first answer to wait would wait for the whole file
                os.fdatasync(fd)
            draft.rename(path)  # readers never see a file without its header
            if self._forced:
                sync_folder(self.folder)
        except OSError as error:
            os.close(fd)
            draft.unlink(missing_ok=True)
            raise SpoolFull(f"{error.strerror or error}", at=str(self.folder)) from error
        return Segment(path, header, fd, mapped)
