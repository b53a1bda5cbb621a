"""The batcher settles every caller exactly once, whatever happens to the others."""

import asyncio
import threading

import numpy as np
import pytest

from serving.batching.batcher import (
    BatcherClosedError,
    DeadlineError,
    MicroBatcher,
    QueueFullError,
)
from serving.batching.window import AdaptiveWindow
from serving.limits import BatchSettings
from serving.types import Outputs, ScoreError


class Model:
    """Answers each row with its own number, when the gate is open."""

    def __init__(self):
        self.gate = threading.Event()
        self.started = threading.Event()
        self.sizes = []

    def __call__(self, rows):
        self.started.set()
        assert self.gate.wait(30)
        self.sizes.append(len(rows))
        if (rows == -1).any():
            raise ScoreError("the model answered NaN")
        return Outputs(values=rows[:, 0])


def row(number):
    return np.asarray([number], np.float32)


async def started(model):
    while not model.started.is_set():
        await asyncio.sleep(0)


async def queued(batcher, count):
    while batcher.waiting < count:
        await asyncio.sleep(0)


async def busy(batcher, model):
    """Occupy the only thread, so that everything after waits in the queue."""
    first = asyncio.create_task(batcher.score(row(0)))
    await started(model)
    return first


async def test_cancelled_caller_leaves_batch_mates_answered():
    model = Model()
    async with MicroBatcher(model) as batcher:
        first = await busy(batcher, model)
        calls = [asyncio.create_task(batcher.score(row(n))) for n in (1, 2, 3)]
        await queued(batcher, 3)
        calls[1].cancel()
        model.gate.set()
        assert await first == (0.0,)
        assert await calls[0] == (1.0,)
        assert await calls[2] == (3.0,)
        with pytest.raises(asyncio.CancelledError):
            await calls[1]
    assert model.sizes == [1, 2]


async def test_caller_cancelled_while_its_batch_runs_leaves_the_others_answered():
    model = Model()
    async with MicroBatcher(model) as batcher:
        first = await busy(batcher, model)
        first.cancel()
        second = asyncio.create_task(batcher.score(row(7)))
        model.gate.set()
        assert await second == (7.0,)


async def test_bad_row_fails_only_its_own_caller():
    model = Model()
    async with MicroBatcher(model) as batcher:
        first = await busy(batcher, model)
        calls = [asyncio.create_task(batcher.score(row(n))) for n in (1, -1, 3)]
        await queued(batcher, 3)
        model.gate.set()
        assert await first == (0.0,)
        assert await calls[0] == (1.0,)
        with pytest.raises(ScoreError, match="NaN"):
            await calls[1]
        assert await calls[2] == (3.0,)


async def test_answers_go_to_the_callers_that_asked():
    model = Model()
    model.gate.set()
    async with MicroBatcher(model, settings=BatchSettings(threads=2)) as batcher:
        answers = await asyncio.gather(*(batcher.score(row(n)) for n in range(300)))
    assert answers == [(float(n),) for n in range(300)]
    assert batcher.rows == 300
    assert max(model.sizes) <= 64


async def test_full_queue_refuses_at_once_and_cancelled_callers_make_room():
    model = Model()
    settings = BatchSettings(max_queue=2)
    async with MicroBatcher(model, settings=settings) as batcher:
        first = await busy(batcher, model)
        calls = [asyncio.create_task(batcher.score(row(n))) for n in (1, 2)]
        await queued(batcher, 2)
        with pytest.raises(QueueFullError, match="2 rows are waiting"):
            await batcher.score(row(3))
        calls[0].cancel()
        await asyncio.sleep(0)
        third = asyncio.create_task(batcher.score(row(4)))
        await asyncio.sleep(0)
        model.gate.set()
        assert [await first, await calls[1], await third] == [(0.0,), (2.0,), (4.0,)]


async def test_deadline_ends_one_call_while_its_batch_still_runs():
    model = Model()
    async with MicroBatcher(model) as batcher:
        first = await busy(batcher, model)
        with pytest.raises(DeadlineError):
            await batcher.score(row(1), timeout_s=0.001)
        model.gate.set()
        assert await first == (0.0,)
    assert model.sizes == [1], "an expired row is not scored"


async def test_drain_answers_what_waits_and_refuses_what_comes():
    model = Model()
    batcher = MicroBatcher(model)
    await batcher.__aenter__()
    first = await busy(batcher, model)
    second = asyncio.create_task(batcher.score(row(5)))
    await queued(batcher, 1)
    drained = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(BatcherClosedError):
        await batcher.score(row(6))
    model.gate.set()
    await drained
    assert [await first, await second] == [(0.0,), (5.0,)]


async def test_idle_batcher_drains_at_once():
    async with MicroBatcher(Model()):
        pass


def test_lone_caller_never_waits_for_company():
    window = AdaptiveWindow(0.01)
    window.arrived(0.0)
    window.arrived(10.0)
    assert window.wait_s(1, cost_s=0.002) == 0.0


def test_busy_window_waits_for_at_most_the_cost_of_a_run():
    window = AdaptiveWindow(0.01)
    for place in range(200):
        window.arrived(place * 0.0001)
    assert 0.0 < window.wait_s(1, cost_s=0.002) <= 0.002
    assert window.wait_s(3, cost_s=0.002) == 0.0


def test_window_forgets_a_burst():
    window = AdaptiveWindow(0.01)
    for place in range(200):
        window.arrived(place * 0.0001)
    for place in range(50):
        window.arrived(1.0 + place)
    assert window.wait_s(1, cost_s=0.002) == 0.0
