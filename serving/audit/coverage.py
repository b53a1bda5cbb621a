"""Is everything that this node recorded in the database? What a scale-in hook has to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from msgspec import Struct

from serving.audit.frame import HEADER_BYTES
from serving.audit.part_store import waiting_parts
from serving.audit.recover import SegmentReader
from serving.audit.store import read_cursors
from serving.audit.tail import Cursor, Place, list_segments

LOOK_S = 0.25


class Coverage(Struct, frozen=True):
    """What of a node's spool the ledger covers.

    Attributes:
        segments: segment files.
        uncovered: those with frames that the ledger does not cover.
        frames: number of such frames.
        writing: files that a living writer holds; covered or not, more may come.
        parts: columnar parts that the artifact store does not have yet.
    """

    segments: int
    uncovered: int
    frames: int
    writing: int
    parts: int = 0

    @property
    def drained(self) -> bool:
        """Nothing is left, and nobody writes any more."""
        return self.frames == 0 and self.writing == 0 and self.parts == 0


async def coverage(connection: asyncpg.Connection, root: Path, node: str) -> Coverage:
    """Compare the segments on the disk with the ledger, frame by frame where it is behind.

    A half-written last frame of a killed process counts as nothing: it was never answered.
    """
    files = await asyncio.to_thread(list_segments, root / node)
    places: list[Place] = list(files)
    cursors = await read_cursors(connection, node, places, HEADER_BYTES) if places else {}
    return await asyncio.to_thread(_count, files, cursors, root / node)


def _count(files: dict[Place, Path], cursors: dict[Place, Cursor], folder: Path) -> Coverage:
    uncovered = frames = writing = 0
    for place, path in files.items():
        cursor = cursors[place]
        if cursor.closed:
            continue
        try:
            with SegmentReader(path, cursor.to_off) as reader:
                lives = reader.writer_lives()
                reader.last_seq = cursor.last_seq
                left = sum(not reader.sealed for _ in reader.frames(dead=not lives))
        except FileNotFoundError:  # shipped and deleted meanwhile
            continue
        writing += lives
        frames += left
        uncovered += left > 0
    return Coverage(len(files), uncovered, frames, writing, waiting_parts(folder))


async def wait_drained(
    look: Callable[[], Awaitable[Coverage]],
    limit_s: float,
    progress: Callable[[Coverage], None] | None = None,
) -> Coverage:
    """Look again until the spool is drained or the time is up; returns the last look.

    Args:
        look: coroutine function that gives the coverage now.
        limit_s: longest wait.
        progress: told every look.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + limit_s
    while True:
        found = await look()
        if progress is not None:
            progress(found)
        if found.drained or loop.time() >= until:
            return found
        await asyncio.sleep(LOOK_S)
