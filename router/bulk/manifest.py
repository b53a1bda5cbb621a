"""The manifest: what a job is, and which of its units are done; one checked line each.

    {"crc":"8f1c2ab0","line":{"kind":"job", ...}}      first line: everything that fixes the output
    {"crc":"...","line":{"kind":"unit", ...}}          one per finished part, appended after it

A line counts when its checksum holds. The last line may be torn by a killed process and is then
ignored and cut off; damage anywhere else is refused. A unit that was done again has two lines; the
later one holds.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec
from msgspec import Struct

from router.bulk.errors import ManifestError
from router.bulk.formats import Format

FORMAT = "interlock/bulk/v1"
FILE = "_manifest.jsonl"
JOB_FILE = "_job.jsonl"
"""The job line that all shards share; who comes first writes it."""
SUCCESS = "_SUCCESS"


class Job(Struct, frozen=True, tag="job", tag_field="kind"):
    """Everything that fixes the output bytes of a job, besides its input.

    Attributes:
        id: 16 random hex digits; row ids are made from it.
        now_us: wall clock of all rows, microseconds since the epoch.
        endpoint: whose release answers.
        number: its release.
        digest: digest of the release's content.
        source: where the rows come from, as it was given.
        inputs: names of the input files, in order.
        output_format: format of the parts.
        keys: input columns carried through.
        unit_rows: rows of a unit.
        batch_rows: rows scored at once.
        shards: into how many shares the units are split.
        software: versions of what writes and scores.
        format: of the manifest.
    """

    id: str
    now_us: int
    endpoint: str
    number: int
    digest: str
    source: str
    inputs: tuple[str, ...]
    output_format: Format
    keys: tuple[str, ...]
    unit_rows: int
    batch_rows: int
    shards: int
    software: dict[str, str]
    format: str = FORMAT


class UnitLine(Struct, frozen=True, tag="unit", tag_field="kind"):
    """One finished part.

    Attributes:
        file: place of the input file in the job's ``inputs``.
        unit: number of the unit within the file.
        first_row: number of its first row within the file.
        rows: rows in, which is rows out.
        file_rows: rows of the whole input file.
        input: fingerprint of the input file when it was read.
        part: name of the part.
        bytes: size of the part.
        sha256: hex digest of the part.
        errors: rows that carry an error.
        routes: rows per model; a reject counts under ``""``.
        evidence: digest of the audit part; empty when the job keeps no evidence.
    """

    file: int
    unit: int
    first_row: int
    rows: int
    file_rows: int
    input: str
    part: str
    bytes: int
    sha256: str
    errors: int = 0
    routes: dict[str, int] = {}
    evidence: str = ""


class Manifest(Struct, frozen=True):
    """A manifest as it was read.

    Attributes:
        job: first line.
        units: last line of each (file, unit).
        sound: bytes from the start that hold; what follows is torn.
    """

    job: Job
    units: dict[tuple[int, int], UnitLine]
    sound: int


class _Line(Struct, frozen=True):
    crc: str
    line: msgspec.Raw


_decode_outer = msgspec.json.Decoder(_Line).decode
_decode_line: Any = msgspec.json.Decoder(Job | UnitLine).decode


def manifest_name(index: int, shards: int) -> str:
    """Name of a shard's manifest; a job of one shard has the plain name."""
    return FILE if shards == 1 else f"_manifest-{index}-of-{shards}.jsonl"


def encode_line(line: Job | UnitLine) -> bytes:
    """One line with its checksum and newline."""
    raw = msgspec.json.encode(line)
    return b'{"crc":"%08x","line":%b}\n' % (crc32(raw), raw)


def decode_manifest(raw: bytes, at: str) -> Manifest:
    """Read a manifest.

    Args:
        raw: its bytes.
        at: its name, for messages.

    Raises:
        ManifestError: a line before the last is damaged, or the first is no job.
    """
    job: Job | None = None
    units: dict[tuple[int, int], UnitLine] = {}
    place = 0
    for number, text in enumerate(raw.splitlines(keepends=True), 1):
        found = _line(text)
        if found is None:
            if place + len(text) < len(raw):
                raise ManifestError(
                    f"line {number} is damaged: its checksum does not hold",
                    at=at,
                    hint="restore the file, or start the job again into another folder",
                )
            break
        if isinstance(found, Job):
            if job is not None:
                raise ManifestError(f"line {number} is a second job", at=at)
            job = found
        elif job is None:
            raise ManifestError("expected a job in the first line, got a unit", at=at)
        else:
            units[found.file, found.unit] = found
        place += len(text)
    if job is None:
        raise ManifestError("expected a job in the first line, got none", at=at)
    if job.format != FORMAT:
        raise ManifestError(f"expected a manifest of format {FORMAT}, got {job.format}", at=at)
    return Manifest(job, units, place)


def _line(text: bytes) -> Job | UnitLine | None:
    """What a line says; None when it is torn or changed."""
    if not text.endswith(b"\n"):
        return None
    try:
        outer = _decode_outer(text)
        if outer.crc != f"{crc32(outer.line):08x}":
            return None
        found: Job | UnitLine = _decode_line(outer.line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found
