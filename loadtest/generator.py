"""One generator process: ``python -m loadtest.generator JOB``.

It speaks with its parent in lines: prints ``ready`` when its connections are open, starts at the
monotonic time of the line ``go NS``, stops early at the line ``stop`` or when its input ends, and
prints one JSON line of figures about itself at the end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from loadtest.driver import Driver, Job


class Report(msgspec.Struct, frozen=True):
    """What one process says about itself.

    Attributes:
        cpu_s: user and system time between start and end.
        wall_s: time between start and end.
        most_inflight: most connections that were open at once.
        error: why it could not run, or empty.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    most_inflight: int = 0
    error: str = ""


async def _run(job: Job) -> Report:
    loop = asyncio.get_running_loop()
    driver = Driver(job, loop)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await driver.connect()
    print("ready", flush=True)
    word, _, start = (await reader.readline()).decode().strip().partition(" ")
    if word != "go":
        return Report(error="stopped before the start")

    async def listen() -> None:
        await reader.readline()
        driver.stop()

    listener = loop.create_task(listen(), name="listen")
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection stalls the loop by milliseconds; a run makes no cycles
    cpu, wall = time.process_time(), time.monotonic()
    await driver.run(int(start))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    listener.cancel()
    return Report(cpu, wall, driver.most_inflight)


def main() -> None:
    """Run the job whose file is named on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    job = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    if job.cpu >= 0:
        os.sched_setaffinity(0, {job.cpu})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if hard > soft else (soft, hard))
    try:
        report = uvloop.run(_run(job))
    except OSError as error:
        report = Report(error=f"cannot connect: {error.strerror or error}")
    print(msgspec.json.encode(report).decode(), flush=True)


if __name__ == "__main__":
    main()
