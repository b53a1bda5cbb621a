"""One child process at a time: started when first needed, ended on cancel, replaced when it dies.

A child writes what it does not keep into a folder of its own, which goes when it does: a job that
is killed leaves nothing.

async with Slot(home) as slot:
    await slot.start(order)
    async for event in slot.events(): ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import msgspec

from control_plane.jobs.schemas import Event, Failed, Finished, Order

KINDS_PATH = "control_plane.jobs.kinds:KINDS"
LINE_LIMIT = 4 << 20
"""Longest event, in bytes."""

SCRATCH = "jobs"
"""Folder of the temporary files, below the worker's home."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Slots share the cores, and sums over threads would differ from run to run."""

_log = logging.getLogger(__name__)
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class ChildDiedError(Exception):
    """The child process ended before its job did; the message says how."""


class Slot:
    """Room for one job.

    Args:
        home: folder of the worker; temporary files of the child go below it.
        number: of the slot within its worker.
        kinds_path: where the child finds its kinds of jobs.
    """

    def __init__(self, home: Path, number: int = 0, kinds_path: str = KINDS_PATH) -> None:
        self.number = number
        self._scratch = home / SCRATCH / f"{os.getpid()}-{number}"
        self._kinds_path = kinds_path
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Nothing starts before the first order."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the child."""
        await self.kill()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return self._child.pid if self._child else None

    async def start(self, order: Order) -> None:
        """Hand an order to the child, starting one if needed.

        Raises:
            ChildDiedError: the child did not take it.
        """
        if self._child is None or self._child.returncode is not None:
            self._forget()
            self._scratch.mkdir(parents=True)
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "control_plane.jobs.child", self._kinds_path,
                f"interlock worker slot {self.number}",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_LIMIT,
                env={
                    **os.environ, **ONE_THREAD, "ORT_DISABLE_TELEMETRY": "1",
                    "TMPDIR": str(self._scratch),
                },
                start_new_session=True,  # so that kill() reaches whatever the work starts
            )  # fmt: skip
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(msgspec.json.encode(order) + b"\n")
            await self._child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise ChildDiedError(await self._end()) from None

    async def events(self) -> AsyncIterator[Event]:
        """What the child reports, up to and including the end of its job.

        Raises:
            ChildDiedError: it ended without saying how the job ended.
        """
        assert self._child is not None
        assert self._child.stdout is not None
        while True:
            try:
                line = await self._child.stdout.readline()
            except ValueError:
                await self.kill()
                raise ChildDiedError(f"an event is longer than {LINE_LIMIT} bytes") from None
            if not line.endswith(b"\n"):
                raise ChildDiedError(await self._end())
            event = _decoder.decode(line)
            yield event
            if isinstance(event, Finished | Failed):
                return

    async def _end(self) -> str:
        """Wait for a child that is going, and say how it went."""
        child, self._child = self._child, None
        assert child is not None
        code = await child.wait()
        self._forget()
        if code >= 0:
            return f"the process of the job exited with status {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"the process of the job was ended by {name}"

    async def kill(self) -> None:
        """End the child and everything it started; the next order starts a new one."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        self._forget()
        transport = getattr(child, "_transport", None)
        if transport is not None:
            transport.close()  # or its pipes stay open until the collector finds them

    def _forget(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)


def forget_the_dead(home: Path) -> None:
    """Remove what children of workers left that were killed together with them."""
    for folder in (home / SCRATCH).glob("*-*"):
        worker = folder.name.partition("-")[0]
        if worker.isdigit() and not Path(f"/proc/{worker}").exists():
            shutil.rmtree(folder, ignore_errors=True)
