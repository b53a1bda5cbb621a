"""Requests to models that are too costly for the event loop: decided in two steps.

    begin    decode, route (on the loop; a row whose model is cheap is answered right here)
    finish   the models' rows scored by their micro-batchers, then settled in the request's order

A request whose rows go to several models is split, scored by all of them at once and put back in
order. It waits at most until its deadline, and leaves no batch-mate unanswered when it goes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from compiler.errors import AppError
from router.arms import Arm
from router.decide import Decider
from router.desk import Desk
from router.endpoint import DECODING, Endpoint
from router.errors import AbandonedError, DeadlineError
from router.metrics.catalogue import BATCH_WAIT
from router.metrics.slots import series
from router.settled import Settled, Trail
from router.turns import at_once
from router.wire.native import Row
from serving.batching.batcher import Call, MicroBatcher
from serving.batching.batcher import DeadlineError as BatchDeadlineError

MAX_AT_ONCE = 64
Decoded = tuple[Any, Any]
Scored = list[tuple[Any, int]]
"""Per row: the outputs (None without a model) and the nanoseconds spent in the model."""
Work = Callable[[], Coroutine[Any, Any, list[Settled]]]
Encode = Callable[[Sequence[Any]], NDArray[np.float32]]
_perf = time.perf_counter_ns


class Heavy:
    """A model that is scored off the event loop.

    Attributes:
        encode: decoded rows of the endpoint to lowered rows.
        batcher: shared by all endpoints of this worker that use the model.
    """

    __slots__ = ("batcher", "encode")

    def __init__(self, encode: Encode, batcher: MicroBatcher) -> None:
        self.encode = encode
        self.batcher = batcher


class HeavyDecider(Decider):
    """Answers requests of an endpoint that has a costly model.

    Attributes:
        at_once: rows of a stream that are scored together without coming near the deadline.
    """

    def __init__(self, endpoint: Endpoint, desk: Desk) -> None:
        super().__init__(endpoint, desk)
        cost_us = max(model.cost_us for model in endpoint.models.values())
        labels = {"endpoint": endpoint.name, "release": endpoint.number}
        self._wait_slot = desk.counters.slot(series(BATCH_WAIT, **labels))
        self.at_once = max(1, min(MAX_AT_ONCE, int(self._timeout_us / 4 / cost_us)))

    def begin(self, rows: Sequence[Row], trail: Trail, *, batch: bool) -> list[Settled] | Work:
        """The recorded decisions, or the work that makes them.

        Args:
            rows: one, or those of a batch.
            trail: where the request came from.
            batch: places in errors are written ``rows[3].income``.

        Raises:
            AppError: as :meth:`Decider.one` and :meth:`Decider.many`.
        """
        if self.endpoint.suspended:
            return [self._suspended(row, trail) for row in rows]
        decoded = (
            at_once(self._decode_all(rows, trail)) if batch else [self._decode_one(rows[0], trail)]
        )
        arms = [
            self._guarded(row, trail, self._choose, f, c, row, trail)
            for row, (f, c) in zip(rows, decoded, strict=True)
        ]
        if any(arm.heavy is not None for arm in arms):
            return partial(self._finish, rows, decoded, arms, trail)
        scored = [
            self._inline(row, f, arm, trail)
            for row, (f, _), arm in zip(rows, decoded, arms, strict=True)
        ]
        return self._settle_all(rows, decoded, arms, scored, trail)

    def _decode_one(self, row: Row, trail: Trail) -> Decoded:
        endpoint = self.endpoint
        try:
            f = endpoint.plain.fast(row.features)
            return f, endpoint.context.fast(b"{}" if row.context is UNSET else row.context)
        except DECODING:
            found: Decoded = self._guarded(row, trail, self._decode_slow, row)
            return found

    def _guarded(self, row: Row, trail: Trail, step: Callable[..., Any], *args: Any) -> Any:
        """A step of one row; its failure is recorded."""
        try:
            return step(*args)
        except AppError as error:
            self.record_error(row, error, trail)
            raise
        except Exception as error:
            raise self._failed(row, error, trail) from error

    def _inline(self, row: Row, f: Any, arm: Arm, trail: Trail) -> tuple[Any, int]:
        """The outputs of a cheap model, or of none."""
        if arm.score is None:
            return None, 0
        started = _perf()
        out = self._guarded(row, trail, arm.score, f)
        return out, _perf() - started

    async def _finish(
        self, rows: Sequence[Row], decoded: Sequence[Decoded], arms: Sequence[Arm], trail: Trail
    ) -> list[Settled]:
        try:
            scored = await self._score(rows, decoded, arms, trail)
        except asyncio.CancelledError:
            self.record_error(rows[0], AbandonedError(), trail)
            raise
        except BatchDeadlineError:
            late = DeadlineError(f"expected an answer within {self._limit_us(rows) // 1000} ms")
            self.record_error(rows[0], late, trail)
            raise late from None
        except AppError as error:
            self.record_error(rows[0], error, trail)
            raise
        except Exception as error:
            raise self._failed(rows[0], error, trail) from error
        return self._settle_all(rows, decoded, arms, scored, trail)

    def _limit_us(self, rows: Sequence[Row]) -> int:
        """The shortest deadline of some rows, microseconds."""
        return min(
            self._timeout_us if row.timeout_ms is None else row.timeout_ms * 1000 for row in rows
        )

    async def _score(
        self, rows: Sequence[Row], decoded: Sequence[Decoded], arms: Sequence[Arm], trail: Trail
    ) -> Scored:
        """Each row's outputs: heavy models at once in their threads, cheap ones meanwhile."""
        scored: Scored = [(None, 0)] * len(rows)
        places: dict[Heavy, list[int]] = {}
        for place, arm in enumerate(arms):
            if arm.heavy is not None:
                places.setdefault(arm.heavy, []).append(place)
        for heavy, members in places.items():
            heavy.batcher.need_room(len(members))
        calls: list[tuple[Call, list[int], int]] = []
        try:
            for heavy, members in places.items():
                matrix = heavy.encode([decoded[place][0] for place in members])
                left_us = self._limit_us([rows[place] for place in members])
                left_us -= (_perf() - trail[2]) // 1000
                submitted = _perf()
                call = heavy.batcher.submit(matrix, timeout_s=max(left_us, 0) / 1e6)
                calls.append((call, members, submitted))
            for place, arm in enumerate(arms):
                if arm.heavy is None:
                    scored[place] = self._inline(rows[place], decoded[place][0], arm, trail)
            for call, members, submitted in calls:
                share = 0
                for place, out in zip(members, await call.future, strict=True):
                    share = share or call.spent_ns // len(members)
                    scored[place] = (out, share)
                waited = max(_perf() - submitted - call.spent_ns, 0)
                self._desk.counters.values[self._wait_slot] += waited * len(members)
        finally:
            for call, *_ in calls:  # nobody waits for what is left when one of them failed
                if not call.future.cancel() and not call.future.cancelled():
                    call.future.exception()
        return scored

    def _settle_all(
        self,
        rows: Sequence[Row],
        decoded: Sequence[Decoded],
        arms: Sequence[Arm],
        scored: Scored,
        trail: Trail,
    ) -> list[Settled]:
        """Decide, record and encode every row, in order."""
        return [
            self._guarded(row, trail, self._settle, row, f, c, arm, out, trail, spent)
            for row, (f, c), arm, (out, spent) in zip(rows, decoded, arms, scored, strict=True)
        ]
