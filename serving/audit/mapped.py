"""A segment file as its writer holds it: mapped, with the place where the next frame goes."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from serving.audit.frame import HEADER_BYTES, SEAL_BYTES, SegmentHeader


class Segment:
    """One mapped file. ``at`` is the next free offset, ``limit`` where the seal must go at last."""

    __slots__ = ("at", "fd", "frames", "header", "limit", "map", "path")

    def __init__(self, path: Path, header: SegmentHeader, fd: int, mapped: mmap.mmap) -> None:
        self.path = path
        self.header = header
        self.fd = fd
        self.map = mapped
        self.at = HEADER_BYTES
        self.limit = header.size - SEAL_BYTES
        self.frames = 0


def release(segment: Segment) -> None:
    """Let go of the mapping and the file; what was written stays."""
    segment.map.close()
    os.close(segment.fd)
