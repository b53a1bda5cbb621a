"""The data plane of one worker: what both lanes call, with heads and bodies instead of sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from compiler.errors import AppError
from router.batches import Batches
from router.bodies import inflate
from router.decide import Decider
from router.desk import Desk, away
from router.durability import HELD, Durability, Held
from router.endpoint import Endpoint
from router.errors import NotFoundError, ShedError
from router.evidence import keeps_parts
from router.head import Head
from router.heavy import HeavyDecider
from router.idempotency import Idempotency
from router.keys import Key
from router.later import Later, timed
from router.limits import BUSY, InFlight, Reached, Shedder
from router.metrics.slots import series
from router.problem import INTERNAL, Reply, reply
from router.rates import Rates
from router.refusals import Refusals
from router.release.current import EMPTY, Current, Refusal
from router.settings import RouterSettings

Answer = bytes | Reply
"""Bytes are the JSON body of a 200; everything else is a :class:`Reply`."""
Soon = Answer | Later
"""An answer, or the work that makes it."""

FastHandler = Callable[["Plane", Head, bytes], Soon]

Busy = tuple[Reply, int, tuple[str | None, str]]
"""Answer, counter, key id and endpoint of who is turned away."""
MOST_BUSY = 1024

DECIDING = frozenset({"predict", "infer"})
SECOND_NS = 1_000_000_000


class Bound:
    """What a head means under the current keys and releases."""

    __slots__ = ("decider", "expires_ns", "key", "plane_epoch")

    def __init__(self, plane_epoch: object, key: Key, decider: Decider) -> None:
        self.plane_epoch = plane_epoch
        self.key = key
        self.decider = decider
        self.expires_ns = key.expires_at * SECOND_NS


class Plane:
    """Answers requests of one worker.

    Attributes:
        current: endpoints and keys of this moment; replaced as a whole by :meth:`swap`.
        epoch: changes whenever ``current`` does.
        ready: releases are loaded and the worker does not drain.
        draining: the worker is about to end.
        streams: open now.
        idempotency: answers of requests that carried a key for it.
        in_flight: requests in progress on the slow lane.
        rates: leases of keys that have a rate.
        shedder: turns requests away while the loop is late.
        durability: holds answers until their records are safe.
        pinned: what answers for older releases, by endpoint and version as it is written.
        waits: answers of some release are held.
        on_swap: called after every swap.

    Args:
        settings: of the node.
        desk: shared services.
        handlers: plain functions that answer the fast routes, by route name.
    """

    def __init__(
        self, settings: RouterSettings, desk: Desk, handlers: Mapping[str, FastHandler]
    ) -> None:
        self.settings = settings
        self.desk = desk
        self.refusals = Refusals(desk)
        self.current: Current = EMPTY
        self.deciders: dict[str, Decider] = {}
        self.pinned: dict[tuple[str, str], Decider] = {}
        self.epoch = object()
        self.loaded = False
        self.streams = 0
        self.idempotency: Idempotency | None = None
        self.in_flight = InFlight(settings.limits)
        self.rates = Rates(settings.workers)
        self.shedder = Shedder(settings.limits.shed_wait_ms)
        self.durability = Durability(desk, desk.spool.folder, flush_ms=settings.flush_ms)
        self.waits = False
        self._busy: dict[tuple[bytes | None, str], Busy] = {}
        self.on_swap: list[Callable[[], None]] = []
        self.draining = False
        self._open = settings.open_metrics or is_loopback(settings.bind)
        self._max_body = settings.http.max_body_bytes
        self._handlers = handlers

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.loaded and not self.draining

    def swap(self, current: Current) -> None:
        """Serve another state from the next request on; a request keeps the one it started with."""
        old = {id(each.endpoint): each for each in self.all_deciders()}

        def decider(endpoint: Endpoint) -> Decider:
            return old.get(id(endpoint)) or decider_of(endpoint, self.desk)

        self.deciders = {name: decider(each) for name, each in current.endpoints.items()}
        self.pinned = {
            (name, str(number)): decider(each) for (name, number), each in current.pinned.items()
        }
        self.current = current
        self.epoch = object()
        self.loaded = True
        self._busy.clear()
        promised = {each.policies.durability for each in current.all_endpoints()}
        self.waits = not promised.isdisjoint(HELD)
        self.durability.serve(promised)
        for call in self.on_swap:
            call()

    def all_deciders(self) -> tuple[Decider, ...]:
        """What answers for active releases, then for older ones."""
        return (*self.deciders.values(), *self.pinned.values())

    async def durable(self, endpoint: Endpoint, started_ns: int) -> None:
        """Return when what the endpoint recorded is as durable as it promises.

        Raises:
            ShedError: it is not, and the endpoint's deadline or the disk says it will not be.
        """
        policies = endpoint.policies
        if policies.durability in HELD:
            left_s = policies.timeout_ms / 1000 - (time.perf_counter_ns() - started_ns) / SECOND_NS
            await self.durability.reached(policies.durability, max(left_s, 0.0), endpoint.name)

    def shed(self, head: Head, connection: Reached | None = None) -> Reply | None:
        """The 503 of a request that has waited too long; None for one that is to be answered."""
        if head.route is None or head.route.name not in DECIDING:
            return None
        if not self.shedder.sheds(connection):
            return None
        answer, slot, who = self._busy_answer(head)
        self.desk.counters.values[slot] += 1
        self.refusals.count(*who, answer.status, answer.code)
        return answer

    def _busy_answer(self, head: Head) -> Busy:
        """The 503 of a caller, made once: turning away has to cost a fraction of an answer."""
        found = self._busy.get((head.token, head.path))
        if found is None:
            assert head.route is not None
            answer, who = reply(BUSY, v2=head.route.v2), self._who(head)
            name = series(
                "interlock_requests_refused_total",
                endpoint=who[1],
                status=answer.status,
                code=answer.code,
            )
            found = answer, self.desk.counters.slot(name), who
            if len(self._busy) >= MOST_BUSY:
                self._busy.clear()
            self._busy[head.token, head.path] = found
        return found

    def answer(self, head: Head, body: bytes) -> Soon:
        """The answer to a whole request of a fast route, or its work; never raises."""
        route = head.route
        assert route is not None
        try:
            if head.error is not None:
                return self.refuse(head, head.error)
            if not head.timing and not self.waits:
                return self._handlers[route.name](self, head, body)
            started = time.perf_counter_ns()
            answer = self._handlers[route.name](self, head, body)
            if self.waits and route.name in DECIDING:
                answer = self._held(head, answer, head.bound.decider.endpoint)
            if isinstance(answer, Later) or not head.timing:
                return answer
            return timed(answer, time.perf_counter_ns() - started)
        except AppError as error:
            return self.refuse(head, error)
        except Exception as error:
            self.desk.report("unexpected failure on %s", head.path, error)
            return self.refuse(head, INTERNAL)

    def _held(self, head: Head, answer: Soon, endpoint: Endpoint) -> Soon:
        """The same answer, when its record is as safe as the release promises."""
        if endpoint.policies.durability not in HELD:
            return answer
        if isinstance(answer, bytes) and not head.timing:
            level, seq = endpoint.policies.durability, self.desk.spool.last_seq
            safe = self.durability.wait(level, seq)
            check = partial(self.durability.check, safe, level, seq, endpoint.name)
            return Held(answer, safe, endpoint.policies.timeout_ms / 1000, check)

        async def work() -> Answer:
            found = await answer.work() if isinstance(answer, Later) else answer
            await self.durable(endpoint, later.started_ns)
            return found

        later = Later(work)
        return later

    def refuse(self, head: Head | None, error: AppError, *, close: bool = False) -> Reply:
        """The answer to a refused request, counted."""
        v2 = head is not None and head.route is not None and head.route.v2
        answer = reply(error, v2=v2, close=close)
        key, endpoint = self._who(head)
        self.refusals.count(key, endpoint, answer.status, answer.code)
        self.desk.counters.add(
            series(
                "interlock_requests_refused_total",
                endpoint=endpoint,
                status=answer.status,
                code=answer.code,
            )
        )
        return answer

    def key_of(self, head: Head) -> Key | None:
        """The live key of a head, None when there is none."""
        try:
            return self.current.keys.find(head.token)
        except AppError:
            return None

    def _who(self, head: Head | None) -> tuple[str | None, str]:
        """Key id and endpoint of a refused request, as far as they are known here."""
        key = None if head is None else self.key_of(head)
        if head is None or key is None:
            return None, ""
        name = head.endpoint or key.only
        return key.id, name if name in self.deciders else ""

    def bound(self, head: Head, received_ns: int, action: str = "predict") -> Bound:
        """Key and decider of a head; looked up once per head and state.

        Raises:
            AppError: as :meth:`bind`.
        """
        found = head.bound
        if found is None or found.plane_epoch is not self.epoch or received_ns >= found.expires_ns:
            found = self.bind(head, action)
        if found.key.row.rate_per_s is not None:
            self.rates.spend(found.key)
        return found  # type: ignore[no-any-return]

    def bind(self, head: Head, action: str) -> Bound:
        """Key and decider of a head, checked; kept on the head until something changes.

        Raises:
            AppError: no key, not for this endpoint, no such endpoint.
        """
        key = self.current.keys.find(head.token)
        name = head.endpoint or key.only
        if not name:
            raise NotFoundError(
                f"key {key.id} is for several endpoints: name one in the path",
                code="endpoint.unnamed",
                hint="POST /v1/predict/ENDPOINT",
            )
        key.may(action, name)
        decider = self.decider(name, head.version)
        bound = Bound(self.epoch, key, decider)
        head.bound = bound
        return bound

    def go_on(self, head: Head, bound: Bound) -> None:
        """Check that a long answer may go on: its key and its endpoint are still in force.

        It keeps the release that it began with; another one that was activated does not end it.

        Raises:
            AppError: the key was revoked or expired, the endpoint is suspended or gone.
        """
        if bound.plane_epoch is self.epoch and time.time_ns() < bound.expires_ns:
            return
        found = self.bind(head, "predict")
        if found.decider.endpoint.suspended:
            raise away(found.decider.endpoint.name)
        bound.plane_epoch = self.epoch

    def allow_read(self, head: Head) -> None:
        """Metrics and metadata are open on loopback; elsewhere they need a live key.

        Raises:
            AppError: no key, or one that does not know this endpoint.
        """
        if self._open:
            return
        key = self.current.keys.find(head.token)
        if head.endpoint:
            key.may("metadata" if "metadata" in key.actions else "predict", head.endpoint)

    def decider(self, name: str, version: str = "") -> Decider:
        """What answers for an endpoint, at the release that a caller names.

        Raises:
            NotFoundError: no such endpoint, or not at this release.
            ShedError: it was refused here, or is not loaded yet.
        """
        found = self.deciders.get(name)
        if found is None:
            raise self.no_endpoint(name)
        if not version or version == str(found.endpoint.number):
            return found
        pinned = self.pinned.get((name, version))
        if pinned is None:
            raise self.no_release(found.endpoint, version)
        return pinned

    def no_release(self, active: Endpoint, version: str) -> AppError:
        """The error for a release that is not the active one: not kept, refused, not known."""
        for refusal in self.current.refusals:
            if (refusal.what, str(refusal.number)) == (active.name, version):
                return _refused(refusal)
        if not active.policies.pinned_releases:
            return NotFoundError(
                f"{active.name!r} answers with its active release {active.number} only, "
                f"got version {version[:20]}",
                code="release.not_pinnable",
                hint="its policy pinned_releases keeps no older ones",
            )
        numbers = [active.number, *(n for name, n in self.current.pinned if name == active.name)]
        return NotFoundError(
            f"expected one of the versions {', '.join(map(str, numbers))} of {active.name!r}, "
            f"got {version[:20]}",
            code="release.unknown",
        )

    def no_endpoint(self, name: str) -> AppError:
        """The error for an endpoint that is not served here: refused, not yet loaded, unknown."""
        if not self.loaded:
            return ShedError("releases are still being loaded", code="node.starting")
        for refusal in self.current.refusals:
            if refusal.what == name:
                return _refused(refusal)
        return NotFoundError(
            f"there is no endpoint {name!r} here", code="endpoint.unknown", at=name
        )

    def inflate(self, head: Head, body: bytes) -> bytes:
        """The body without its content encoding, bounded.

        Raises:
            BodyError: an encoding that is not known, or damaged data.
            TooLargeError: larger than a body may be.
        """
        return inflate(head.encoding, body, self._max_body)


def _refused(refusal: Refusal) -> ShedError:
    return ShedError(
        f"release {refusal.number} of {refusal.what!r} was refused: {refusal.message}",
        code="endpoint.refused",
        at=refusal.what,
    )


def decider_of(endpoint: Endpoint, desk: Desk) -> Decider:
    """What answers an endpoint: in one step when all its models are cheap."""
    if not endpoint.inline:
        return HeavyDecider(endpoint, desk)
    decider = Decider(endpoint, desk)
    if keeps_parts(endpoint) and endpoint.policies.input == "strict":
        decider.batches = Batches(decider, desk)
    return decider


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("10.0.0.1")
    (True, False)
    """
    return bind in {"localhost", "::1"} or bind.startswith("127.")
