"""Long work in turns: what takes longer than an answer lets others in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

from serving.priority import give_way

TURN_ROWS = 64
"""Rows of one request between two turns of the event loop: about a millisecond."""
Found = TypeVar("Found")
Steps = Generator[None, None, Found]
"""Work with pauses in which the event loop may do something else."""


def at_once(steps: Steps[Found]) -> Found:
    """What some steps lead to, without a pause between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def in_turns(steps: Steps[Found]) -> Found:
    """The same; others have their turn in every pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)


@cache
def beside() -> ThreadPoolExecutor:
    """The thread of this worker for what belongs to requests of many rows."""
    return ThreadPoolExecutor(1, "batches", initializer=give_way)


def aside(work: Callable[..., Found], *arguments: Any) -> asyncio.Future[Found]:
    """Some work beside the loop, which keeps the interpreter for tenths of a millisecond."""
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(beside(), partial(work, *arguments))
