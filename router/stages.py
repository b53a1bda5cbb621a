"""Where the time of a request goes: about one request in 128 is timed step by step.

The others pay one test of the clock's low bits. Means of the steps are the counters over the number
of timed requests; their sum is more than the request's own duration, which ends before the record
is kept and the answer is written.

A clock runs on while another process has the core. What models cost is therefore the processor time
of the thread, taken in another request in 128: asking for it is a system call, where the kernel
likes to switch to another process, and would spoil the clock's figures of the same request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET

from router.endpoint import DECODING
from router.metrics.catalogue import MODEL_CPU, MODEL_CPU_SAMPLES, STAGE, STAGE_SAMPLES
from router.metrics.slots import Counters, series
from router.settled import Settled, Trail

if TYPE_CHECKING:
    from router.arms import Arm
    from router.endpoint import Endpoint
    from router.wire.native import Row

UNTIMED = 63
"""A request is timed when these bits of its start, in nanoseconds, are all 0."""
BY_THREAD = 64
"""This bit tells by which: 0 the clock, 1 the thread's processor time."""
STAGES = ("decode", "route", "infer", "decide", "encode", "audit")
"""``decode``: key, JSON and types. ``decide``: decision table, ids and counters. ``audit``: the
record and the spool."""
DECODE, ROUTE, INFER, DECIDE, ENCODE, AUDIT = range(len(STAGES))

_perf = time.perf_counter_ns
_thread = time.thread_time_ns
T = TypeVar("T")


def _cost_of_asking() -> int:
    """Nanoseconds of its own that two looks at the thread's time tell, at best."""
    return min(-(_thread() - _thread()) for _ in range(100))


THREAD_CLOCK_NS = _cost_of_asking()


class Stages:
    """Timed twin of one endpoint's hot path; the same steps, with a clock between them.

    Args:
        counters: slots of the worker.
        endpoint: whose.
        decode_slow: the decoder that words problems.
        choose: the arm of a row.
        make_settle: builds the last steps around :meth:`timed`.
        answer: encodes a settled row; done once more for its time.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        endpoint: Endpoint,
        decode_slow: Callable[[Row], tuple[Any, Any]],
        choose: Callable[[Any, Any, Row, Trail], Arm],
        make_settle: Callable[[Stages], Callable[..., Settled]],
        answer: Callable[[Row, Settled], bytes],
    ) -> None:
        labels = {"endpoint": endpoint.name, "release": endpoint.number}
        self._values = counters.values
        self._first = counters.block([series(STAGE, **labels, stage=name) for name in STAGES])
        self._samples = counters.slot(series(STAGE_SAMPLES, **labels))
        self._labels = labels
        self._slot = counters.slot
        self._of_models: dict[tuple[str, int | None], tuple[int, int]] = {}
        self._spent = [0] * len(STAGES)
        self._plain, self._context = endpoint.plain.fast, endpoint.context.fast
        self._decode_slow, self._choose, self._answer = decode_slow, choose, answer
        self._settle = make_settle(self)

    def timed(self, stage: int, function: Callable[..., T]) -> Callable[..., T]:
        """The same function, its time added to a stage of the request in hand."""
        spent = self._spent

        def call(*args: Any) -> T:
            began = _perf()
            found = function(*args)
            spent[stage] += _perf() - began
            return found

        return call

    def one(self, row: Row, trail: Trail) -> Settled:
        """The recorded decision on a single row, timed.

        Raises:
            AppError: as for a request that is not timed; such requests are not counted here.
        """
        spent = self._spent
        spent[:] = [0] * len(spent)
        try:
            f = self._plain(row.features)
            c = self._context(b"{}" if row.context is UNSET else row.context)
        except DECODING:
            f, c = self._decode_slow(row)
        if trail[2] & BY_THREAD:
            return self._by_thread(row, f, c, trail)
        decoded = _perf()
        arm = self._choose(f, c, row, trail)
        chosen = _perf()
        out = None if arm.score is None else arm.score(f)
        scored = _perf()
        settled = self._settle(row, f, c, arm, out, trail, scored - chosen)
        recorded = _perf()
        spent[DECIDE] = recorded - scored - spent[ENCODE] - spent[AUDIT]
        self._answer(row, settled)
        spent[ENCODE] += _perf() - recorded
        spent[DECODE] = decoded - trail[2]
        spent[ROUTE] = chosen - decoded
        spent[INFER] = scored - chosen
        values, first = self._values, self._first
        for stage, nanoseconds in enumerate(spent):
            values[first + stage] += nanoseconds
        values[self._samples] += 1
        return settled

    def _by_thread(self, row: Row, f: Any, c: Any, trail: Trail) -> Settled:
        """The rest of a request of which only the model's processor time is taken."""
        arm = self._choose(f, c, row, trail)
        started = _perf()
        before = _thread()
        out = None if arm.score is None else arm.score(f)
        worked = max(_thread() - before - THREAD_CLOCK_NS, 0)
        settled = self._settle(row, f, c, arm, out, trail, _perf() - started)
        if arm.model is not None:
            time_slot, count_slot = self._slots_of(arm.model, arm.version)
            self._values[time_slot] += worked
            self._values[count_slot] += 1
        return settled

    def _slots_of(self, model: str, version: int | None) -> tuple[int, int]:
        """Slots of a model's processor time and of how often it was taken."""
        found = self._of_models.get((model, version))
        if found is None:
            labels = {**self._labels, "model": model, "version": version or ""}
            found = (
                self._slot(series(MODEL_CPU, **labels)),
                self._slot(series(MODEL_CPU_SAMPLES, **labels)),
            )
            self._of_models[model, version] = found
        return found
