"""Probes, and the answers to paths and methods that do not exist."""

# ruff: noqa: ARG001 - all handlers have one signature

from __future__ import annotations

import msgspec

from router.errors import MethodError, NotFoundError, ShedError
from router.head import Head
from router.plane import Answer, Plane
from router.problem import reply
from router.routes import methods_of

SHOWN = 200


def live(plane: Plane, head: Head, body: bytes) -> Answer:
    """The process answers; nothing else is asked."""
    return b'{"live":true,"ready":%b}' % (b"true" if plane.ready else b"false")


def ready(plane: Plane, head: Head, body: bytes) -> Answer:
    """Whether new requests are welcome."""
    if plane.ready:
        return b'{"live":true,"ready":true}'
    if plane.draining:
        error = ShedError("the node drains", code="node.draining")
    else:
        error = ShedError("releases are still being loaded", code="node.starting")
    return reply(error, v2=head.route is not None and head.route.v2)


def missing(plane: Plane, head: Head, body: bytes) -> Answer:
    """No such path."""
    raise NotFoundError(f"there is nothing at {head.path[:SHOWN]}", at=head.path[:SHOWN])


def wrong_method(plane: Plane, head: Head, body: bytes) -> Answer:
    """The path has other methods; they are named."""
    names = ", ".join(each.decode() for each in methods_of(head.path))
    method = head.method.decode("latin-1")[:20]
    answer = plane.refuse(
        head, MethodError(f"expected {names}, got {method}", at=head.path[:SHOWN])
    )
    return msgspec.structs.replace(answer, headers=((b"allow", names.encode()),))
