"""The process that does the work: orders in on standard input, events out, one JSON per line.

It is separate from the worker so that a heavy or crashing training can neither stop the worker's
heartbeat nor be impossible to cancel. It stays alive between jobs, because importing the training
stack costs seconds, and it dies with its worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import IO

import msgspec

from compiler.errors import AppError, Problem
from control_plane.db.pool import Pool
from control_plane.errors import UnavailableError
from control_plane.jobs.kinds import find_work
from control_plane.jobs.schemas import Event, Failed, Finished, Order
from control_plane.jobs.task import JobLostError, Task
from control_plane.settings import PoolSettings
from serving.lifeline import die_with
from serving.priority import step_back

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve orders until the input ends. Arguments: ``module:NAME`` of the table of kinds."""
    die_with(os.getppid(), signal.SIGKILL)
    step_back()  # a router may share the machine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the worker's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    module, _, name = sys.argv[1].partition(":")
    kinds: dict[str, str] = getattr(import_module(module), name)
    orders = sys.stdin.buffer
    # Libraries that print must not break the protocol: events get a descriptor of their own and
    # whatever is printed goes to the log.
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    decoder = msgspec.json.Decoder(Order)
    for line in orders:
        serve(decoder.decode(line), kinds, events)


def serve(order: Order, kinds: dict[str, str], events: IO[bytes]) -> None:
    """Do one job and report its end."""

    def write(event: Event) -> None:
        events.write(msgspec.json.encode(event) + b"\n")

    async def work() -> Event:
        handler = find_work(order.claim.kind, kinds)
        settings = PoolSettings(order.database_url, max_size=2, deadline_s=60.0)
        async with Pool(settings) as pool:
            return Finished(await handler(Task(order, pool, write)))

    try:
        end = asyncio.run(work())
    except AppError as error:
        end = Failed(error.problem(), retry=isinstance(error, UnavailableError | JobLostError))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        end = Failed(Problem("job.io", reason, at=str(error.filename or "")), retry=True)
    except MemoryError:
        end = Failed(Problem("job.memory", "the work needs more memory than there is"))
    except Exception as error:
        _log.exception("job %s crashed", order.claim.id)
        end = Failed(crash(error))
    write(end)


def crash(error: BaseException) -> Problem:
    """A problem for an error nobody expected: its class and place, for a report to us."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119 - a bare name
    return Problem(
        "job.crashed",
        f"{type(error).__name__}: {str(error)[:500]}",
        at=place,
        hint="the worker's log has the traceback",
    )


if __name__ == "__main__":
    main()
