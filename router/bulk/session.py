"""A job on a node: pinned release, spool, columnar function and files put together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from router.bulk.bind import columnar
from router.bulk.blocks import Reading
from router.bulk.errors import BulkError
from router.bulk.evidence import SEGMENT_BYTES, WORKER, Evidence, need_open
from router.bulk.formats import Format, format_of
from router.bulk.job import new_id, now_us, software
from router.bulk.manifest import Job, decode_manifest, manifest_name
from router.bulk.places import Inputs, Output, open_inputs, open_output
from router.bulk.reader import read_blocks
from router.bulk.run import Plan, Progress, Run
from router.bulk.score import COLUMNS
from router.bulk.tune import LARGEST, tuned_rows
from router.bulk.units import plan_units
from router.bulk.verify import Again, load
from router.bulk.watch import Watch, pin
from router.subject import ensure_subject_key, load_subject_key
from serving.audit.segment import SegmentWriter
from serving.priority import give_way

if TYPE_CHECKING:
    from router.bulk.score import Decide
    from router.endpoint import Endpoint
    from router.settings import RouterSettings

UNIT_ROWS = 65_536


class Request(Struct, frozen=True):
    """What somebody asks for.

    Attributes:
        source: file, folder, glob or ``s3://`` of rows.
        endpoint: name.
        out: folder or ``s3://`` of parts.
        actor: who asks.
        format: of the parts; None for that of the first input.
        keys: columns carried through.
        resume: go on with what is there.
        shard: number of this share, from 0, and how many there are.
        max_bad: rows with errors that are tolerated; None for any number.
        unit_rows: rows of a part; None for the usual.
        batch_rows: rows scored at once; None to try.
        workers: scoring threads; None for one on a node that serves, else one per core.
        job: manifest whose first line is taken over, for equal bytes.
    """

    source: str
    endpoint: str
    out: str
    actor: str
    format: Format | None = None
    keys: tuple[str, ...] = ()
    resume: bool = False
    shard: tuple[int, int] = (0, 1)
    max_bad: int | None = None
    unit_rows: int | None = None
    batch_rows: int | None = None
    workers: int | None = None
    job: Path | None = None


class Session:
    """One run, ready to go.

    Args:
        request: what is wanted.
        settings: of the node.
        beside: a router serves on this machine: the run leaves it the cores.

    Attributes:
        endpoint: pinned.
        release_from: where its release was read.
        workers: scoring threads.
        inputs: files of rows.
        run: the run itself.
    """

    def __init__(self, request: Request, settings: RouterSettings, *, beside: bool) -> None:
        self._request = request
        self._settings = settings
        need_keys(request.keys)
        need_apart(request.source, request.out)
        self.endpoint, self.release_from = pin(settings, request.endpoint)
        need_open(self.endpoint)
        self.hasher = load_subject_key(
            settings.subject_key or ensure_subject_key(settings.home / "secrets" / "subject.key")
        )
        cache = settings.home / "cache" / "bulk"
        self.inputs = open_inputs(request.source, cache=cache)
        self.output = open_output(request.out, cache=cache)
        cores = 1 if beside else len(os.sched_getaffinity(0))
        self.workers = request.workers or cores

    @contextlib.contextmanager
    def opened(self, report: Callable[[Progress], None] | None = None) -> Iterator[Run]:
        """The run, with the node's spool open while it lasts."""
        settings, request = self._settings, self._request
        give_memory_back()
        job = self._job()
        decide = columnar(self.endpoint, self.hasher.ref, job.now_us)
        if not job.batch_rows:
            job = msgspec.structs.replace(job, batch_rows=self._tuned(decide, job))
        with contextlib.closing(
            SegmentWriter(
                settings.spool_dir, settings.node, WORKER, segment_bytes=SEGMENT_BYTES,
                spool_limit_bytes=settings.spool_limit_bytes,
            )
        ) as spool:  # fmt: skip

            def evidence(opened: Job) -> Evidence:
                return Evidence(
                    spool, opened, self.endpoint, request.actor,
                    limit_bytes=settings.spool_limit_bytes,
                )  # fmt: skip

            yield Run(
                Plan(
                    wanted=job,
                    inputs=self.inputs,
                    output=self.output,
                    endpoint=self.endpoint,
                    decide=decide,
                    subject_ref=self.hasher.ref,
                    evidence=evidence,
                    check=Watch(settings, self.endpoint).check,
                    shard=request.shard[0],
                    resume=request.resume,
                    max_bad=request.max_bad,
                    workers=self.workers,
                    prepare=give_way,
                ),
                report,
            )

    def _job(self) -> Job:
        """The job line as asked for; what an existing one fixes is taken from there."""
        request, endpoint = self._request, self.endpoint
        shard, shards = request.shard
        raw = self.output.read(manifest_name(shard, shards))
        if request.job is not None:
            raw = request.job.read_bytes()
        given = decode_manifest(raw, "the job line").job if raw else None
        return Job(
            id=given.id if given else new_id(),
            now_us=given.now_us if given else now_us(),
            endpoint=endpoint.name,
            number=endpoint.number,
            digest=endpoint.digest,
            source=request.source,
            inputs=self.inputs.names,
            output_format=request.format or format_of(self.inputs.names[0]),
            keys=request.keys,
            unit_rows=request.unit_rows or (given.unit_rows if given else UNIT_ROWS),
            batch_rows=request.batch_rows or (given.batch_rows if given else 0),
            shards=shards,
            software=software(),
        )

    def _tuned(self, decide: Decide, job: Job) -> int:
        """Rows to score at once, tried on the first rows of the input."""
        from router.bulk.ids import row_ids

        sample = first_rows(self.inputs, self.endpoint, LARGEST)
        if sample is None:
            return LARGEST
        ids = row_ids(job.id, job.now_us, 0, 0, sample.num_rows)
        return tuned_rows(lambda batch: decide(batch, 0, ids[: batch.num_rows]), sample)


def give_memory_back() -> None:
    """Let Arrow's buffers return to the system: its own pool keeps those of the largest unit."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())


def first_rows(inputs: Inputs, endpoint: Endpoint, rows: int) -> Any:
    """Some sound rows of the first file; None when it has none."""
    name = inputs.names[0]
    kind = format_of(name)
    with inputs.local(name) as path:
        units = plan_units(path, kind, 0, rows)
        blocks = read_blocks(path, kind, units[:1], Reading(endpoint, (), rows))
        batch = next(blocks).batch
    return batch if batch.num_rows else None


def need_keys(keys: tuple[str, ...]) -> None:
    """Check that key columns can stand beside the answers.

    Raises:
        BulkError: one has the name of an answer column, or comes twice.
    """
    for key in keys:
        if key in COLUMNS or keys.count(key) > 1:
            raise BulkError(
                f"expected different key columns other than {', '.join(COLUMNS)}, got {key!r}",
                code="bulk.key",
                hint="rename it in the input; the caller's own id is carried as _id",
            )


def need_apart(source: str, out: str) -> None:
    """Check that a job does not find its own parts among its input when it comes back.

    Raises:
        BulkError: the output lies in the input folder.
    """
    if "://" in source or "://" in out:
        return
    folder, target = (Path(each).expanduser().resolve() for each in (source, out))
    if folder.is_dir() and target.is_relative_to(folder):
        raise BulkError(
            f"expected an output outside of {source}, got {out}",
            code="bulk.out",
            hint="its parts would be input of the next run",
        )


def again(output: Output, settings: RouterSettings, source: str | None, units: int) -> list[str]:
    """Score some units of a finished job again; what differs, in words.

    Args:
        output: of the job.
        settings: of this node.
        source: where the input is now; None for where it was.
        units: how many.

    Raises:
        BulkError: another release, or other input files.
    """
    job, _, _ = load(output)
    endpoint, _ = pin(settings, job.endpoint)
    inputs = open_inputs(source or job.source, cache=settings.home / "cache" / "bulk")

    def decide(known: Job) -> Decide:
        return columnar(endpoint, str, known.now_us)

    return Again(output, inputs, endpoint, decide).differences(units)
