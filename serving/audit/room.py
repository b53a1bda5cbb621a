"""Room in a node's spool folder: how much is taken, and whether one more file finds its place."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from compiler.errors import AppError

LOOK_NS = 250_000_000
"""How long what a look at the folder found is good for, while there is room."""
LOOK_SHARE = 50
"""Looking takes at most this part of the time."""


class SpoolFull(AppError):  # noqa: N818 - the word used in problem codes and policies
    """The spool has no room for another record."""

    code = "audit.full"


def spool_bytes(folder: Path) -> int:
    """Bytes that the files of a node's spool occupy. Cost: linear in the files."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # the shipper deletes while we look
                continue
    return total


class Room:
    """What is left of a folder's limit; any thread may ask.

    A look costs more the more files there are, so what the last one found is counted down for a
    while. What others put there meanwhile is seen with the next one.

    Args:
        folder: of the node.
        limit_bytes: that all files together should not exceed.
        clock: monotonic, ns.
    """

    def __init__(
        self, folder: Path, limit_bytes: int, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._left = self._look_ns = self._soon_ns = 0

    def take(self, size: int) -> None:
        """Count a file of about ``size`` bytes.

        Raises:
            SpoolFull: it does not fit.
        """
        with self._lock:
            now_ns = self._clock()
            if now_ns >= (self._look_ns if size <= self._left else self._soon_ns):
                self._left = self._limit_bytes - spool_bytes(self._folder)
                end_ns = self._clock()
                self._soon_ns = end_ns + (end_ns - now_ns) * LOOK_SHARE
                self._look_ns = max(self._soon_ns, end_ns + LOOK_NS)
            if size > self._left:
                raise SpoolFull(
                    f"the spool has {max(self._left, 0)} of {self._limit_bytes} bytes left, "
                    f"{size} are wanted",
                    at=str(self._folder),
                    hint="bring the database back or give the spool more room",
                )
            self._left -= size
