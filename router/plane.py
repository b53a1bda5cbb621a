"""The data plane of one worker: what both lanes call, with heads and bodies instead of sockets."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import msgspec

from compiler.errors import AppError
from router.decide import Decider
from router.desk import Desk
from router.errors import BodyError, MethodError, NotFoundError, ShedError, TooLargeError
from router.head import Head
from router.keys import Key
from router.metrics.slots import series
from router.problem import INTERNAL, Reply, reply
from router.refusals import Refusals
from router.release.current import EMPTY, Current
from router.routes import methods_of
from router.settings import RouterSettings
from router.wire.native import decode_row, decode_rows

Answer = bytes | Reply
"""Bytes are the JSON body of a 200; everything else is a :class:`Reply`."""

_perf = time.perf_counter_ns
_wall = time.time_ns
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
    """

    def __init__(self, settings: RouterSettings, desk: Desk) -> None:
        self.settings = settings
        self.desk = desk
        self.refusals = Refusals(desk)
        self.current: Current = EMPTY
        self.deciders: dict[str, Decider] = {}
        self.epoch = object()
        self.loaded = False
        self.draining = False
        self._max_body = settings.http.max_body_bytes
        self._handlers: dict[str, Callable[[Head, bytes], Answer]] = {
            "predict": self._predict,
            "live": self._live,
            "ready": self._ready,
            "missing": self._missing,
            "wrong_method": self._wrong_method,
        }

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.loaded and not self.draining

    def swap(self, current: Current) -> None:
        """Serve another state from the next request on; a request keeps the one it started with."""
        old = self.deciders
        self.deciders = {
            name: old[name]
            if name in old and old[name].endpoint is endpoint
            else Decider(endpoint, self.desk)
            for name, endpoint in current.endpoints.items()
        }
        self.current = current
        self.epoch = object()
        self.loaded = True

    def takes_fast(self, head: Head) -> bool:
        """Whether the answer to a fast route can be given at once, without waiting for anything."""
        return True

    def answer(self, head: Head, body: bytes) -> Answer:
        """The answer to a whole request of a fast route; never raises."""
        route = head.route
        assert route is not None
        try:
            if head.error is not None:
                raise head.error
            return self._handlers[route.name](head, body)
        except AppError as error:
            return self.refuse(head, error)
        except Exception as error:
            self.desk.report("unexpected failure on %s", head.path, error)
            return self.refuse(head, INTERNAL)

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

    def _who(self, head: Head | None) -> tuple[str | None, str]:
        """Key id and endpoint of a refused request, as far as they are known here."""
        if head is None or head.token is None:
            return None, ""
        try:
            key = self.current.keys.find(head.token)
        except AppError:
            return None, ""
        name = head.endpoint or key.only
        return key.id, name if name in self.deciders else ""

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
        decider = self.deciders.get(name)
        if decider is None:
            raise self._no_endpoint(name)
        bound = Bound(self.epoch, key, decider)
        head.bound = bound
        return bound

    def _no_endpoint(self, name: str) -> AppError:
        if not self.loaded:
            return ShedError("releases are still being loaded", code="node.starting")
        for refusal in self.current.refusals:
            if refusal.what == name:
                return ShedError(
                    f"release {refusal.number} of {name!r} was refused: {refusal.message}",
                    code="endpoint.refused",
                    at=name,
                )
        return NotFoundError(
            f"there is no endpoint {name!r} here", code="endpoint.unknown", at=name
        )

    def _predict(self, head: Head, body: bytes) -> Answer:
        started = _perf()
        received = _wall()
        bound = head.bound
        if bound is None or bound.plane_epoch is not self.epoch or received >= bound.expires_ns:
            bound = self.bind(head, "predict")
        if head.encoding:
            body = self.inflate(head, body)
        decider = bound.decider
        trail = (
            bound.key.id,
            received,
            started,
            head.traceparent,
            None if head.idempotency is None else head.idempotency.decode("latin-1"),
        )
        try:
            row = decode_row(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            rows = decode_rows(body, decider.endpoint.policies.max_rows)
            if isinstance(rows, list):
                return decider.many(rows, trail)
            row = rows
        return decider.one(row, trail)

    def inflate(self, head: Head, body: bytes) -> bytes:
        """The body without its content encoding, bounded.

        Raises:
            BodyError: an encoding that is not known, or damaged data.
            TooLargeError: larger than a body may be.
        """
        if head.encoding in (b"gzip", b"x-gzip"):
            stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        elif head.encoding == b"deflate":
            stream = zlib.decompressobj()
        else:
            raise BodyError(
                f"expected content-encoding gzip or deflate, got {head.encoding.decode('latin-1')}",
                code="body.encoding",
            )
        try:
            plain = stream.decompress(body, self._max_body + 1)
        except zlib.error as error:
            raise BodyError(
                f"the compressed body is damaged: {error}", code="body.encoding"
            ) from error
        if len(plain) > self._max_body:
            raise too_large(self._max_body)
        if not stream.eof or stream.unused_data:
            raise BodyError(
                "the compressed body is cut off or has more behind it", code="body.encoding"
            )
        return plain

    def _live(self, head: Head, body: bytes) -> Answer:
        return b'{"live":true,"ready":%b}' % (b"true" if self.ready else b"false")

    def _ready(self, head: Head, body: bytes) -> Answer:
        if self.ready:
            return b'{"live":true,"ready":true}'
        why = "draining" if self.draining else "releases are still being loaded"
        code = "node.draining" if self.draining else "node.starting"
        error = ShedError(why, code=code)
        assert head.route is not None
        return reply(error, v2=head.route.v2)

    def _missing(self, head: Head, body: bytes) -> Answer:
        raise NotFoundError(f"there is nothing at {head.path[:200]}", at=head.path[:200])

    def _wrong_method(self, head: Head, body: bytes) -> Answer:
        allowed = methods_of(head.path)
        names = ", ".join(each.decode() for each in allowed)
        method = head.method.decode("latin-1")[:20]
        error = MethodError(f"expected {names}, got {method}", at=head.path[:200])
        answer = self.refuse(head, error)
        return msgspec.structs.replace(answer, headers=((b"allow", names.encode()),))


def too_large(limit: int) -> TooLargeError:
    """The error for a body beyond the limit, the same on both lanes."""
    return TooLargeError(
        f"expected a body of at most {limit} bytes",
        hint="send several requests, or use the stream",
    )
