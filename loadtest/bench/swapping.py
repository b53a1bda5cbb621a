"""A real router worker that swaps releases when told to: ``python -m loadtest.bench.swapping DIR``.

The folder holds ``router.json`` and two snapshots; a line ``paced N`` or ``back-to-back N`` on
standard input makes N swaps between them and answers ``done``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the runtime is imported

from router.lifecycle import Worker
from router.release.disk import Snapshot, read_snapshot
from router.settings import decode_settings

SIDES = ("a", "b")


async def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    import uvloop  # noqa: F401 - the loop of the real worker, installed by the runner below

    settings = decode_settings((folder / "router.json").read_bytes())
    listener = socket.create_server(("127.0.0.1", settings.port), backlog=128)
    listener.setblocking(False)
    worker = Worker(settings, 0, listener)
    snapshots = [read_snapshot(folder / side) for side in SIDES]
    ready = asyncio.Event()
    running = asyncio.create_task(worker.run(ready.set))
    await asyncio.wait((running, asyncio.create_task(ready.wait())), return_when="FIRST_COMPLETED")
    if running.done():
        running.result()
    say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        how, count = line.split()
        for turn in range(int(count)):
            snapshot = snapshots[(turn + 1) % 2]
            assert isinstance(snapshot, Snapshot)
            await worker.feed.take(snapshot, paced=how == "paced")
        say("done")
    worker.drain()
    await running


def say(word: str) -> None:
    """Tell the parent."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))
