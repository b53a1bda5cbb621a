"""Columnar evidence: many decisions in one content-addressed Arrow file, one record for them all.

A stream or a bulk job of millions of rows would fill the spool with single records. Instead the
rows of a chunk (inputs, rule, model, decision, outputs) become one part: an Arrow file named after
its digest. Its record carries digest, number of rows and a filter of the subjects inside, and
stands in the chain like any other: a changed row of a part changes a digest that is proved.

    keep_part      part into the node's spool, then its record into the segment (in that order)
    the shipper    its record into the database, the part into the artifact store (part_store.py)
    read_part      part back from the store, checked against the record
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compiler.errors import AppError
from serving.audit.record import SCHEMA_VERSION, AuditRecord, encode_record
from serving.audit.room import SpoolFull
from serving.audit.segment import SegmentWriter
from serving.files import file_digest, sync_file, sync_folder

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".arrow"
DRAFT = ".part"
DRAFT_S = 600.0
INPUT = "input."
"""Prefix of columns that hold one feature each; ``features`` holds all of them as JSON instead."""
COLUMN_TYPES: Mapping[str, tuple[str, ...]] = {
    "row": ("int64",),
    "id": ("string", "large_string", "fixed_size_binary[16]"),
    "request_id": ("string", "large_string"),
    "subject_ref": ("string", "large_string"),
    "rule": ("string", "large_string", "dictionary"),
    "model": ("string", "large_string", "dictionary"),
    "version": ("int32", "int64"),
    "package_digest": ("string", "large_string", "dictionary"),
    "decision": ("string", "large_string", "dictionary"),
    "decision_rule": ("string", "large_string", "dictionary"),
    "status": ("int16", "int32", "int64"),
    "label": ("string", "large_string", "dictionary"),
    "value": ("double",),
    "features": ("binary", "large_binary", "string", "large_string"),
    "context": ("binary", "large_binary", "string", "large_string"),
    "outputs": ("binary", "large_binary", "string", "large_string"),
    "error": ("binary", "large_binary", "string", "large_string"),
}
"""Columns of a part besides inputs, with the Arrow types each may have."""
REQUIRED = ("row", "rule")
BUFFER_BYTES = 1 << 18
BITS_PER_SUBJECT = 10
HASHES = 7
"""Seven hashes into ten bits a subject: one part in a hundred is read in vain."""
WORDS = 8
"""Most frequent rules and decisions that the record counts."""


class PartError(AppError):
    """The part is not what its record says, or its table cannot become one."""

    code = "audit.part"


class About(Struct, frozen=True):
    """What all rows of a part have in common.

    Attributes:
        endpoint: that was asked.
        release: number that answered.
        key_id: routing key, or who ran the job.
        received_ns: wall clock when the first row was read.
        decided_ns: wall clock when the last one was decided.
        durability: level of the answers.
        retention_class: fixed in the release.
        request_id: of the job, the stream or the request.
        traceparent: of the request.
    """

    endpoint: str
    release: int
    key_id: str
    received_ns: int
    decided_ns: int
    durability: str = "process"
    retention_class: str = "default"
    request_id: str | None = None
    traceparent: str | None = None


class Summary(Struct, frozen=True, omit_defaults=True):
    """The ``features`` of a part's record.

    Attributes:
        part: digest of the file.
        rows: rows in it.
        bytes: its size.
        first_row: number of its first row within the job.
        subjects: base64 of a Bloom filter over ``subject_ref``; empty without subjects.
    """

    part: str
    rows: int
    bytes: int
    first_row: int = 0
    subjects: str = ""


class Stored(Struct, frozen=True):
    """A part in the spool whose record is still to be appended.

    Attributes:
        summary: what the record will say.
        counts: JSON of its most frequent rules and decisions.
    """

    summary: Summary
    counts: bytes


class Kept(Struct, frozen=True):
    """A part and its record, both in the spool.

    Attributes:
        id: of the record.
        seq: sequence number of the record, to wait for a durability level.
        summary: what the record says.
    """

    id: bytes
    seq: int
    summary: Summary


def keep_part(
    spool: SegmentWriter, rows: pa.Table, about: About, next_id: Callable[[int], bytes]
) -> Kept:
    """Keep the evidence of many rows; returns when it survives the death of this process.

    The file is in the spool before its record is, and both before this returns: send the rows'
    answers afterwards. It blocks for the write of the file; a process whose event loop appends
    calls :func:`store_part` in a thread and :func:`note_part` on the loop.

    Args:
        spool: writer of this process.
        rows: columns out of ``COLUMN_TYPES`` and ``input.NAME``; at least ``row`` and ``rule``.
        about: what the rows have in common.
        next_id: source of record ids.

    Raises:
        PartError: a column is missing, unknown, of another type, or there are no rows.
        SpoolFull: no room for the file or its record.
    """
    return note_part(spool, store_part(spool, rows), about, next_id)


def store_part(spool: SegmentWriter, rows: pa.Table, *, forced: bool = False) -> Stored:
    """Put the file of some rows into the spool; any thread may call it.

    Args:
        spool: writer of this process.
        rows: as of :func:`keep_part`.
        forced: return when the disk has it, for records that are more durable than the process.

    Raises:
        PartError: the table is no evidence.
        SpoolFull: no room for the file.
    """
    check_table(rows)
    spool.room.take(rows.nbytes)
    draft = spool.folder / f".{spool.boot}-{spool.worker}-{os.urandom(6).hex()}{DRAFT}"
    try:
        write_table(rows, draft)
        size = draft.stat().st_size
        digest = file_digest(draft)
        if forced:
            sync_file(draft)
        summary = Summary(
            digest, rows.num_rows, size, rows.column("row")[0].as_py(), subject_filter(rows)
        )
        draft.rename(local_path(spool.folder, digest))
        if forced:
            sync_folder(spool.folder)
    except OSError as error:
        raise SpoolFull(f"{error.strerror or error}", at=str(spool.folder)) from error
    finally:
        draft.unlink(missing_ok=True)
    return Stored(summary, msgspec.json.encode(_counts(rows)))


def note_part(
    spool: SegmentWriter, stored: Stored, about: About, next_id: Callable[[int], bytes]
) -> Kept:
    """Append the record of a stored part; from the thread that appends.

    Raises:
        SpoolFull: no room for the record.
    """
    summary = stored.summary
    record_id = next_id(about.received_ns)
    record = AuditRecord(
        SCHEMA_VERSION, record_id, about.received_ns, about.decided_ns, about.endpoint,
        about.release, "", (), None, None, None, about.key_id, about.request_id, None, None, None,
        None, summary.part, 200, about.durability, about.retention_class,
        msgspec.json.encode(summary), None, (), stored.counts, None,
        (about.decided_ns - about.received_ns) // 1000, 0, about.traceparent, rows=summary.rows,
    )  # fmt: skip
    return Kept(record_id, spool.append(encode_record(record)), summary)


def check_table(rows: pa.Table) -> None:
    """Refuse a table that is no evidence.

    Raises:
        PartError: as :func:`keep_part`.
    """
    if rows.num_rows == 0:
        raise PartError("expected at least one row")
    for name in REQUIRED:
        if name not in rows.column_names:
            raise PartError(f"expected a column {name!r}, got {', '.join(rows.column_names)}")
    for field in rows.schema:
        if field.name.startswith(INPUT):
            continue
        allowed = COLUMN_TYPES.get(field.name)
        found = str(field.type).partition("<")[0]
        if allowed is None or found not in allowed:
            expected = " or ".join(allowed) if allowed else f"a known column or {INPUT}NAME"
            raise PartError(f"expected {expected}, got {field.type}", at=field.name)


def write_table(rows: pa.Table, path: Path) -> None:
    """Write a table as an Arrow file; equal tables give equal bytes.

    Not compressed: that costs four times what writing costs, and whoever carries the file to the
    store has more time than whoever answers.
    """
    import pyarrow as pa

    plain = rows.replace_schema_metadata(None).combine_chunks()
    # through a buffer: every column would be two small writes
    output = pa.output_stream(str(path), compression=None, buffer_size=BUFFER_BYTES)
    with output as file, pa.ipc.new_file(file, plain.schema) as writer:
        writer.write_table(plain)


def local_path(folder: Path, digest: str) -> Path:
    """Where a part waits for the shipper."""
    return folder / (digest.removeprefix("sha256:") + SUFFIX)


def rows_of(table: pa.Table, subject_ref: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a part as dictionaries; those of one subject when it is given."""
    import pyarrow.compute as pc

    if subject_ref is not None:
        if "subject_ref" not in table.column_names:
            return
        table = table.filter(pc.equal(table.column("subject_ref"), subject_ref))
    yield from table.to_pylist()


def _counts(rows: pa.Table) -> dict[str, dict[str, int]]:
    """How often each rule and decision occurs, the most frequent ones."""
    found = {}
    for name in ("rule", "decision"):
        if name in rows.column_names:
            pairs = rows.column(name).value_counts().to_pylist()
            pairs.sort(key=lambda pair: (-pair["counts"], str(pair["values"])))
            found[name] = {str(pair["values"] or ""): pair["counts"] for pair in pairs[:WORDS]}
    return found


def subject_filter(rows: pa.Table) -> str:
    """Base64 of a Bloom filter over the subjects of a table; empty when there are none."""
    if "subject_ref" not in rows.column_names:
        return ""
    subjects = [
        each for each in rows.column("subject_ref").unique().to_pylist() if each is not None
    ]
    if not subjects:
        return ""
    size = (len(subjects) * BITS_PER_SUBJECT + 7) // 8
    return base64.b64encode(_filter(subjects, size)).decode()


def _filter(subjects: Sequence[str], size: int) -> bytes:
    """The bits of :func:`_places` of all subjects, ``size`` bytes of them."""
    import numpy as np

    digests = b"".join(
        [hashlib.blake2b(subject.encode(), digest_size=16).digest() for subject in subjects]
    )
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    count = np.uint64(size * 8)
    place, step = halves[:, 0] % count, (halves[:, 1] | np.uint64(1)) % count
    bits = np.zeros(size * 8, bool)
    for _ in range(HASHES):
        bits[place] = True
        place = (place + step) % count
    return np.packbits(bits, bitorder="little").tobytes()


def may_hold(summary: Summary, subject_ref: str) -> bool:
    """Whether a part may be about a subject; never False when it is."""
    bits = base64.b64decode(summary.subjects)
    return bool(bits) and all(
        bits[place >> 3] >> (place & 7) & 1 for place in _places(subject_ref, len(bits) * 8)
    )


def _places(subject: str, size: int) -> Sequence[int]:
    """Bits of a subject, by double hashing."""
    digest = hashlib.blake2b(subject.encode(), digest_size=16).digest()
    first = int.from_bytes(digest[:8], "little")
    step = int.from_bytes(digest[8:], "little") | 1
    return [(first + number * step) % size for number in range(HASHES)]


def read_summary(features: bytes) -> Summary:
    """What a part's record says."""
    return msgspec.json.decode(features, type=Summary)
