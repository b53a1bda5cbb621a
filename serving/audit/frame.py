"""Bytes of a spool segment: file header, frames, seal. Shared by the writer and the readers.

    0        256                                                            size
    | header | frame | frame | ... | seal or zeros ...                        |
    frame:   u32 CRC32 | u32 kind << 24 | length | u64 sequence | payload | pad to 8

The CRC covers the payload and, through its start value, kind, length, sequence and boot; the
frame's header is stored after its payload. So a frame that a killed process left half written
never checks out and reads as the end of the log, a flipped bit anywhere in a frame is seen, and
bytes inside a payload that imitate a frame do not pass for one.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from msgspec import Struct

from compiler.errors import AppError

MAGIC = b"ILKSEG\x01\n"
HEADER_BYTES = 256
FRAME_HEADER = struct.Struct("<IIQ")
FRAME_BYTES = FRAME_HEADER.size
LENGTH_MASK = 0x00FF_FFFF
MAX_PAYLOAD = LENGTH_MASK

RECORD = 0xA5
"""Payload is an ``AuditRecord``."""
EVENT = 0xA6
"""Payload is an ``EventRecord``."""
GAP = 0x6A
"""Records that were counted but not kept; payload is ``GAP_BODY``, sequence is the last of them."""
SEAL = 0x5E
"""Nothing follows; payload is ``SEAL_BODY``, sequence is the last one written in the boot."""
KINDS = frozenset((RECORD, EVENT, GAP, SEAL))

GAP_BODY = struct.Struct("<Qq")
"""Number of dropped records, wall clock ns of the first."""
SEAL_BODY = struct.Struct("<QQ")
"""Frames in the segment, answers sent in the boot so far."""
SEAL_BYTES = FRAME_BYTES + SEAL_BODY.size

_HEADER = struct.Struct("<IQQq16s64s")
_CRC_AT = len(MAGIC)
_BODY_AT = _CRC_AT + 4
_BODY_END = _BODY_AT + _HEADER.size
ANSWERED_AT = HEADER_BYTES - 8
"""Offset of a u64 outside the CRC that the writer changes: answers sent in the boot so far."""


class SegmentError(AppError):
    """The file is not a spool segment."""

    code = "audit.segment"


class SegmentHeader(Struct, frozen=True):
    """Who writes a segment.

    Attributes:
        node: node name, at most 64 bytes in UTF-8.
        boot: 16 hex digits, drawn once per writer.
        worker: worker number within the node.
        number: 1 upwards within the boot.
        size: bytes of the file.
        created_ns: wall clock at creation.
    """

    node: str
    boot: str
    worker: int
    number: int
    size: int
    created_ns: int

    @property
    def writer(self) -> str:
        """Name of the writer in rows and certificates."""
        return f"{self.node}/{self.boot}/{self.worker}"

    @property
    def name(self) -> str:
        """File name of the segment; never used twice."""
        return f"{self.boot}-{self.worker}-{self.number:08d}.seg"


def salt_of(boot: str) -> int:
    """Part of every frame's CRC start value that only this boot uses."""
    return zlib.crc32(boot.encode("ascii"))


def pack_header(header: SegmentHeader) -> bytes:
    """The first ``HEADER_BYTES`` of a segment."""
    body = _HEADER.pack(
        header.worker,
        header.number,
        header.size,
        header.created_ns,
        header.boot.encode("ascii"),
        header.node.encode(),
    )
    return (MAGIC + struct.pack("<I", zlib.crc32(body)) + body).ljust(HEADER_BYTES, b"\0")


def unpack_header(data: bytes | memoryview, where: str = "") -> SegmentHeader:
    """The header of a segment.

    Raises:
        SegmentError: too short, not our magic, or damaged.
    """
    raw = bytes(data[:_BODY_END])
    if len(raw) < _BODY_END or raw[:_CRC_AT] != MAGIC:
        raise SegmentError("expected a spool segment, got other bytes", at=where)
    body = raw[_BODY_AT:]
    if zlib.crc32(body) != struct.unpack_from("<I", raw, _CRC_AT)[0]:
        raise SegmentError("expected an intact segment header, got a wrong checksum", at=where)
    worker, number, size, created_ns, boot, node = _HEADER.unpack(body)
    return SegmentHeader(
        node.rstrip(b"\0").decode(), boot.decode("ascii"), worker, number, size, created_ns
    )


def header_from_name(path: Path) -> SegmentHeader:
    """What the file's name and folder say, for a segment whose header is damaged.

    Raises:
        SegmentError: the name is not that of a segment.
    """
    boot, _, rest = path.stem.partition("-")
    worker, _, number = rest.partition("-")
    if path.suffix != ".seg" or not (worker.isdigit() and number.isdigit()):
        raise SegmentError("expected <boot>-<worker>-<number>.seg", at=str(path))
    return SegmentHeader(path.parent.name, boot, int(worker), int(number), path.stat().st_size, 0)
