"""A bulk job in a process of its own: ``python -m tests.bulk_process HOME IN OUT [LIMIT_BYTES]``.

With a limit, no file can grow beyond it once the first part is done: the disk is full then.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from compiler.errors import AppError
from router.bulk.bind import columnar
from router.bulk.evidence import Evidence
from router.bulk.manifest import decode_manifest
from router.bulk.watch import pin
from serving.audit.segment import SegmentWriter
from tests import bulk_world, router_world


def main(home: Path, source: Path, out: Path, limit: int) -> int:
    """Run or go on with the job of the line that lies beside the input."""
    endpoint, _ = pin(router_world.settings_for(home), "credit")
    spool = SegmentWriter(home / "spool", "test", 255, segment_bytes=1 << 18)
    job = decode_manifest(source.with_suffix(".job").read_bytes(), "job").job

    def check() -> None:
        if limit and any(out.glob("part-*")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    print("begun", flush=True)
    try:
        bulk_world.run(
            endpoint, source, out, job=job, resume=True, check=check,
            decide=columnar(endpoint, "ref-{}".format, job.now_us),
            evidence=lambda opened: Evidence(
                spool, opened, endpoint, "ann@bank", limit_bytes=1 << 30
            ),
        )  # fmt: skip
    except AppError as error:
        print(f"{error.code}: {error.message}", flush=True)
        return 1
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    paths = [Path(each) for each in sys.argv[1:4]]
    sys.exit(main(*paths, int(sys.argv[4]) if len(sys.argv) > 4 else 0))
