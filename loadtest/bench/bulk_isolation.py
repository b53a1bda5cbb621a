"""What a bulk job does to online requests: ``interlock bulk run`` on a node that serves.

The job runs as anybody would start it, on the very core of the router's worker, which is the worst
place for it. It is interrupted at the end of each turn and goes on in the next.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadtest.bench.measure import Requests, check_server
from loadtest.bench.models import Line
from loadtest.errors import TargetError

if TYPE_CHECKING:
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server

ROWS = 2_000_000
"""More than a job does in one turn."""
UNIT_ROWS = 8_192
END_S = 30.0


def measure_isolation(data: Path, rounds: int, tell: Callable[[str], None]) -> Iterator[Line]:
    """Latency of online requests at 0.7 of the capacity, in turns with and without a job.

    Args:
        data: German credit CSV.
        rounds: turns of each kind.
        tell: told each step.
    """
    from loadtest.bench.credit import ENDPOINT, build_node
    from loadtest.bench.isolation import SHARE, capacity, isolation
    from loadtest.bench.node import router
    from loadtest.processes import share_cores

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interlock-bench-")))
        node = build_node(data, folder, progress=tell)
        cores = share_cores()
        server = stack.enter_context(router(node, cores[0]))
        bearer = (("Authorization", f"Bearer {node.key}"),)
        online = Requests(f"/v1/predict/{ENDPOINT}", node.bodies, bearer)
        check_server(server, online)
        tell("measuring the capacity for online requests")
        most = capacity(server, online, cpu=cores[-1])
        tell(f"writing {ROWS:,} rows")
        source = write_rows(node, folder / "rows.parquet", ROWS)
        counts: list[float] = []
        job = partial(bulk_job, server, node, source, folder / "out", cpu=cores[0], counts=counts)
        tell(f"online requests at {SHARE:.0%} of the capacity, in turns with and without the job")
        found = isolation(
            server, online, job, rate=SHARE * most, cpu=cores[-1], rounds=rounds, window_s=3.0
        )
        yield Line("isolation", "online capacity", most, "requests/s")
        yield Line("isolation", "job beside the load", sum(counts) / len(counts), "rows a turn")
        yield Line("isolation", "online p50 without", found.p50_us[0], "us")
        yield Line("isolation", "online p50 with", found.p50_us[1], "us")
        yield Line("isolation", "worker without a core, without", found.waited_us[0], "us/request")
        yield Line("isolation", "worker without a core, with", found.waited_us[1], "us/request")
        yield Line("isolation", "online p99 without", found.p99_us[0], "us")
        yield Line("isolation", "online p99 with", found.p99_us[1], "us")
        yield Line("isolation", "p99 without, largest to smallest", found.spread, "x")
        yield Line("isolation", "online p99 ratio", found.ratio, "x", "<= 1.1")
        yield Line("isolation", "failed online requests", sum(found.errors), "", "0")


def write_rows(node: Node, path: Path, rows: int) -> Path:
    """The node's rows, repeated, as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = [msgspec.json.decode(body)["features"] for body in node.bodies]
    table = pa.Table.from_pylist(known)
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(-(-rows // len(known))):
            writer.write_table(table)
    return path


@contextlib.contextmanager
def bulk_job(
    server: Server, node: Node, source: Path, out: Path, *, cpu: int, counts: list[float]
) -> Iterator[None]:
    """A job on the node of a server, from its first part until it was interrupted.

    Args:
        server: router of the node.
        node: whose release the job pins.
        source: rows.
        out: folder of the parts; they are taken away at the end.
        cpu: core to run on.
        counts: receives how many rows were answered.

    Raises:
        TargetError: the job ended before it was interrupted.
    """
    from loadtest.bench.credit import ENDPOINT

    shutil.rmtree(out, ignore_errors=True)
    words = ("bulk", "run", source, "--endpoint", ENDPOINT, "--out", out, "--unit-rows", UNIT_ROWS)
    process = subprocess.Popen(
        [sys.executable, "-m", "interlock", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={
            **os.environ, "INTERLOCK_HOME": str(node.folder / "home"),
            "ARTIFACT_STORE": str(node.folder / "store"), "INTERLOCK_NODE": "bench",
            "INTERLOCK_SPOOL": str(node.folder / "spool"), "INTERLOCK_ROOT_KEY": node.root_key,
            "INTERLOCK_PORT": str(server.target.port),
        },
    )  # fmt: skip
    assert process.stderr is not None
    os.sched_setaffinity(process.pid, {cpu})
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if "/s" in line:
                break
        else:
            raise TargetError(f"the job ended: {''.join(said)[-500:]}")
        rest = threading.Thread(target=said.extend, args=(process.stderr,))
        rest.start()
        yield
        process.send_signal(signal.SIGINT)
        rest.join(END_S)
        counts.append(float(UNIT_ROWS * sum(1 for _ in out.glob("part-*"))))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
