"""Starting a job and coming back to it: the first line of the manifest, and what it must match."""

from __future__ import annotations

import importlib.metadata
import secrets
import time

import msgspec

from router.bulk.errors import BulkError, ResumeError
from router.bulk.manifest import (
    JOB_FILE,
    SUCCESS,
    Job,
    Manifest,
    UnitLine,
    decode_manifest,
    encode_line,
    manifest_name,
)
from router.bulk.places import Output

SOFTWARE = ("numpy", "onnxruntime", "pyarrow")
"""What decides about the bytes of scores and files."""
NAMES_SHOWN = 3


def new_id() -> str:
    """Id of a new job."""
    return secrets.token_hex(8)


def software() -> dict[str, str]:
    """Versions of what writes and scores."""
    return {name: importlib.metadata.version(name) for name in SOFTWARE}


def now_us() -> int:
    """The wall clock of a new job."""
    return time.time_ns() // 1000


def open_job(output: Output, wanted: Job, shard: int, *, resume: bool) -> Manifest:
    """Begin a job, join its other shards, or come back to it.

    Args:
        output: where it writes.
        wanted: the job as asked for; id, clock and sizes give way to those of the first start.
        shard: number of this share.
        resume: there may be a manifest already.

    Raises:
        ResumeError: the output holds another job, or this one and ``resume`` was not said.
        ManifestError: the manifest is damaged.
    """
    name = manifest_name(shard, wanted.shards)
    raw = output.read(name)
    if raw is not None:
        found = decode_manifest(raw, name)
        if not resume:
            raise ResumeError(
                f"the output already holds job {found.job.id}",
                code="bulk.exists",
                hint="add --resume to go on, or give another folder",
            )
        need_same(found.job, wanted)
        return found
    others = [each for each in output.names() if each.startswith("_manifest")]
    split = [each for each in others if not each.endswith(f"-of-{wanted.shards}.jsonl")]
    if split:
        raise ResumeError(
            f"the output holds a job that is split another way: {split[0]}",
            hint="give the same --shard i/n to all machines, or another folder",
        )
    job = wanted
    if wanted.shards > 1 and not output.create(JOB_FILE, encode_line(wanted)):
        job = decode_manifest(output.read(JOB_FILE) or b"", JOB_FILE).job
        need_same(job, wanted)
    line = encode_line(job)
    output.write(name, line)
    return Manifest(job, {}, len(line))


def need_same(found: Job, wanted: Job) -> None:
    """Check that a manifest is about the job that was asked for.

    Raises:
        ResumeError: something that decides about the output is different; it is named.
    """
    _same("endpoint", found.endpoint, wanted.endpoint)
    if (found.number, found.digest) != (wanted.number, wanted.digest):
        raise ResumeError(
            f"the job was begun with release {found.number} ({found.digest[:19]}), "
            f"active is release {wanted.number} ({wanted.digest[:19]})",
            code="bulk.release",
            hint="roll back to that release, or start again into another folder",
        )
    _same_inputs(found.inputs, wanted.inputs)
    _same("output format", found.output_format, wanted.output_format)
    _same("key columns", ",".join(found.keys), ",".join(wanted.keys))
    _same("number of shards", found.shards, wanted.shards)
    if wanted.unit_rows:
        _same("rows of a unit", found.unit_rows, wanted.unit_rows)
    for name, version in wanted.software.items():
        _same(f"version of {name}", found.software.get(name), version)


def _same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise ResumeError(
            f"the job was begun with {what} {found or 'none'!s}, now it is {wanted or 'none'!s}",
            hint="use what it was begun with, or start again into another folder",
        )


def _same_inputs(found: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    gone = [name for name in found if name not in set(wanted)]
    new = [name for name in wanted if name not in set(found)]
    if found == wanted:
        return
    said = [
        f"{word}: {', '.join(names[:NAMES_SHOWN])}{' ...' if len(names) > NAMES_SHOWN else ''}"
        for word, names in (("gone", gone), ("new", new))
        if names
    ]
    raise ResumeError(
        f"the job was begun with {len(found)} input files, now there are {len(wanted)} "
        f"({'; '.join(said)})",
        code="bulk.inputs",
        hint="bring the same files back, or start again into another folder",
    )


def units_of(file_rows: int, unit_rows: int) -> int:
    """Number of units of a file."""
    return max(1, -(-file_rows // unit_rows))


def is_mine(file: int, unit: int, shard: int, shards: int) -> bool:
    """Whether a unit belongs to a shard."""
    return (file + unit) % shards == shard


def all_manifests(output: Output) -> list[Manifest]:
    """Manifests of all shards.

    Raises:
        BulkError: there are none.
    """
    names = [each for each in output.names() if each.startswith("_manifest")]
    found = [decode_manifest(raw, name) for name in names if (raw := output.read(name)) is not None]
    if not found:
        raise BulkError(
            "there is no job here", code="bulk.nothing", hint="give the folder that --out named"
        )
    return found


def missing_units(job: Job, lines: dict[tuple[int, int], UnitLine]) -> list[str]:
    """What is still to be done, in words; empty when every row of every file has its answer."""
    rows: dict[int, list[UnitLine]] = {}
    for (file, _), line in lines.items():
        rows.setdefault(file, []).append(line)
    said = []
    for file, name in enumerate(job.inputs):
        known = rows.get(file, [])
        if not known:
            said.append(f"{name}: nothing yet")
            continue
        if len({line.input for line in known}) > 1:
            said.append(f"{name}: it changed while the job ran")
            continue
        done, whole = sum(line.rows for line in known), known[0].file_rows
        if len(known) < units_of(whole, job.unit_rows) or done != whole:
            said.append(f"{name}: {done} of {whole} rows")
    return said


def success(job: Job, lines: dict[tuple[int, int], UnitLine]) -> bytes:
    """The proof that every row was answered, as JSON."""
    rows = {file: line.file_rows for (file, _), line in lines.items()}
    files = [{"name": name, "rows": rows[n]} for n, name in enumerate(job.inputs)]
    proof = {
        "job": job.id,
        "endpoint": job.endpoint,
        "release": job.number,
        "digest": job.digest,
        "rows_in": sum(rows.values()),
        "rows_out": sum(line.rows for line in lines.values()),
        "errors": sum(line.errors for line in lines.values()),
        "parts": len(lines),
        "files": files,
        "sha256": {line.part: line.sha256 for _, line in sorted(lines.items())},
    }
    return msgspec.json.format(msgspec.json.encode(proof)) + b"\n"


def finish(output: Output) -> bool:
    """Write the proof when all shards are done; whether they are."""
    manifests = all_manifests(output)
    job = manifests[0].job
    if len(manifests) < job.shards:
        return False
    lines = {key: line for each in manifests for key, line in each.units.items()}
    if missing_units(job, lines):
        return False
    output.write(SUCCESS, success(job, lines))
    return True
