"""Releases are taken one after the other, with a pause in proportion; a single one at once."""

import os
import threading
from typing import Any

import pytest

from router.release.current import EMPTY
from router.release.disk import Snapshot
from router.release.loading import MAX_PAUSE_S, PAUSE_FACTOR, Loading
from serving.priority import NICE


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Loader:
    """Takes some seconds of the clock, and notes where it ran."""

    def __init__(self, clock: Clock, takes: float) -> None:
        self.clock = clock
        self.takes = takes
        self.niceness: list[int] = []

    def apply(self, snapshot: Snapshot, current: Any) -> Any:
        self.clock.now += self.takes
        self.niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return current


async def taken(loader: Any, count: int, *, at_start: bool = False) -> Loading:
    found = Loading(loader, clock=loader.clock, sleep=loader.clock.sleep)
    for _ in range(count):
        await found.calm()
        await found.apply(Snapshot(b""), EMPTY, at_start=at_start)
    return found


async def test_single_change_is_never_held_up() -> None:
    clock = Clock()
    await taken(Loader(clock, 0.01), 1)
    assert clock.slept == [0.0]


@pytest.mark.parametrize("takes", [0.01, 5.0])
async def test_pause_is_in_proportion_and_bounded(
    takes: float,
) -> None:
    clock = Clock()
    await taken(Loader(clock, takes), 3)
    pause = min(PAUSE_FACTOR * takes, MAX_PAUSE_S)
    assert clock.slept == pytest.approx([0.0, pause, pause])


async def test_loading_thread_gives_way_but_not_before_anybody_is_served() -> None:
    clock = Clock()
    ordinary = os.getpriority(os.PRIO_PROCESS, 0)
    loader = Loader(clock, 0.0)
    await taken(loader, 1, at_start=True)
    await taken(loader, 1)
    assert loader.niceness == [ordinary, max(ordinary, NICE)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == ordinary
