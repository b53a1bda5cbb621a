"""How a worker learns that the database has its records: 16 bytes shared with the shipper.

    0                8                16
    | shipped u64    | wanted u64     |

``shipped`` is written by the shipper after the commit: every sequence up to it is in the ledger.
``wanted`` is written by a worker that holds an answer until then; the shipper does not linger.
Losing the file loses nothing: the shipper fills it in again from the ledger's next commit.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

ACK_BYTES = 16
_WORD = struct.Struct("<Q")


def ack_path(folder: Path, boot: str, worker: int) -> Path:
    """File of one writer."""
    return folder / f"{boot}-{worker}.ack"


class AckFile:
    """The worker's side."""

    def __init__(self, folder: Path, boot: str, worker: int) -> None:
        self.path = ack_path(folder, boot, worker)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.ftruncate(fd, ACK_BYTES)
            self._map = mmap.mmap(fd, ACK_BYTES)
        finally:
            os.close(fd)

    @property
    def shipped(self) -> int:
        """Highest sequence that the database has, with everything before it."""
        return int(_WORD.unpack_from(self._map, 0)[0])

    def want(self, seq: int) -> None:
        """Ask the shipper not to linger before it has this sequence."""
        if seq > _WORD.unpack_from(self._map, 8)[0]:
            _WORD.pack_into(self._map, 8, seq)

    def close(self) -> None:
        """Unmap; the file stays for the shipper, which removes it with the last segment."""
        self._map.close()


class Acks:
    """The shipper's side: one small open file per stream."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[tuple[str, int], int] = {}

    def publish(self, boot: str, worker: int, seq: int) -> None:
        """Tell a worker that everything up to ``seq`` is in the database."""
        fd = self._fd(boot, worker)
        if fd is not None:
            os.pwrite(fd, _WORD.pack(seq), 0)

    def wanted(self) -> bool:
        """Whether a worker holds answers until its records are shipped."""
        for fd in self._open.values():
            words = os.pread(fd, ACK_BYTES, 0)
            if len(words) == ACK_BYTES:
                shipped, wanted = struct.unpack("<QQ", words)
                if wanted > shipped:
                    return True
        return False

    def follow(self, streams: set[tuple[str, int]]) -> None:
        """Open the files of these streams and let go of all others."""
        for stream in self._open.keys() - streams:
            os.close(self._open.pop(stream))
        for boot, worker in streams:
            self._fd(boot, worker)

    def remove(self, boot: str, worker: int) -> None:
        """Delete the file of a writer that is gone."""
        fd = self._open.pop((boot, worker), None)
        if fd is not None:
            os.close(fd)
        ack_path(self._folder, boot, worker).unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files."""
        self.follow(set())

    def _fd(self, boot: str, worker: int) -> int | None:
        fd = self._open.get((boot, worker))
        if fd is None:
            try:
                fd = os.open(ack_path(self._folder, boot, worker), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            self._open[boot, worker] = fd
        return fd
