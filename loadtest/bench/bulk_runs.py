"""Bulk jobs as the benchmark runs them: the product's own, without a database around them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Literal

from loadtest.errors import LoadTestError
from router.bulk.bind import columnar
from router.bulk.evidence import WORKER, Evidence
from router.bulk.formats import format_of
from router.bulk.job import new_id, now_us, software
from router.bulk.manifest import Job
from router.bulk.places import LocalInputs, LocalOutput
from router.bulk.run import Plan, Run
from router.bulk.session import UNIT_ROWS, give_memory_back
from router.endpoint import Endpoint
from router.subject import SubjectHasher
from serving.audit.segment import SegmentWriter

Variant = Literal["whole", "without evidence", "resumed"]
SPOOL_BYTES = 64 << 30


class Jobs:
    """Runs jobs over files.

    Args:
        endpoint: that answers.
        folder: for spool and output.
        workers: scoring threads.
        batch_rows: rows scored at once.
    """

    def __init__(self, endpoint: Endpoint, folder: Path, workers: int, batch_rows: int) -> None:
        give_memory_back()
        self._endpoint = endpoint
        self._folder = folder
        self._workers = workers
        self._batch_rows = batch_rows
        self._hasher = SubjectHasher(b"a key of the benchmark alone....")

    def timed(self, path: Path, variant: Variant) -> float:
        """Seconds from opening the output to its proof.

        ``resumed`` goes on with the finished job of the call before: every part is checked, none
        is scored.
        """
        out, spool_dir = self._folder / "out", self._folder / "spool"
        if variant != "resumed":
            shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(spool_dir, ignore_errors=True)
        spool = SegmentWriter(spool_dir, "bench", WORKER, segment_bytes=1 << 20)
        start = time.perf_counter()
        try:
            run = self._run(path, out, None if variant == "without evidence" else spool)
        finally:
            spool.close()
        took = time.perf_counter() - start
        if (variant == "resumed") != (run.progress.rows == 0):
            raise LoadTestError("the job was not what was to be measured", at=variant)
        return took

    def _run(self, path: Path, out: Path, spool: SegmentWriter | None) -> Run:
        inputs, endpoint = LocalInputs(str(path)), self._endpoint
        job = Job(
            id=new_id(), now_us=now_us(), endpoint=endpoint.name, number=endpoint.number,
            digest=endpoint.digest, source=str(path), inputs=inputs.names,
            output_format=format_of(path.name), keys=("case",), unit_rows=UNIT_ROWS,
            batch_rows=self._batch_rows, shards=1, software=software(),
        )  # fmt: skip

        def evidence(opened: Job) -> Evidence:
            assert spool is not None
            return Evidence(spool, opened, endpoint, "bench", limit_bytes=SPOOL_BYTES)

        run = Run(
            Plan(
                wanted=job,
                inputs=inputs,
                output=LocalOutput(out),
                endpoint=endpoint,
                decide=columnar(endpoint, self._hasher.ref, job.now_us),
                subject_ref=self._hasher.ref,
                evidence=None if spool is None else evidence,
                resume=True,
                workers=self._workers,
            )
        )
        run.run()
        return run
