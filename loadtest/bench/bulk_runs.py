"""Bulk jobs as the benchmark runs them: the product's own, without a database around them.

``python -m loadtest.bench.bulk_runs MODELS FILE BATCH_ROWS`` runs one in a process of its own and
prints how many MB it took above the loaded models.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

from loadtest.errors import LoadTestError
from loadtest.proc import rss_anon_kb
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
LOOK_S = 0.02


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


def peak_mb(models: Path, file: Path, batch_rows: int) -> float:
    """Largest growth of this process's own memory while it runs a job, in MB."""
    from loadtest.bench.bulk_parts import load

    endpoint = load(models)
    highest, done = [0], threading.Event()
    before = rss_anon_kb(os.getpid())

    def look() -> None:
        while not done.wait(LOOK_S):
            highest[0] = max(highest[0], rss_anon_kb(os.getpid()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        with tempfile.TemporaryDirectory(prefix="interlock-bench-") as name:
            Jobs(endpoint, Path(name), 1, batch_rows).timed(file, "whole")
    finally:
        done.set()
        thread.join()
    return (highest[0] - before) / 1024


if __name__ == "__main__":
    print(peak_mb(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
