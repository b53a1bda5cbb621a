"""The Open Inference Protocol's descriptions: server, endpoints, configuration, index."""

# ruff: noqa: ARG001 - all handlers have one signature

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from router.errors import ForbiddenError, NotFoundError, ShedError
from router.head import Head
from router.plane import Answer, Plane
from router.wire import v2_shapes

if TYPE_CHECKING:
    from router.endpoint import Endpoint

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
)
_encode = msgspec.json.encode


def endpoint_of(plane: Plane, head: Head) -> Endpoint:
    """The endpoint that a path names, at the release that it names.

    Raises:
        NotFoundError: no such endpoint, or another release.
        ShedError: it is refused or still being loaded.
    """
    plane.allow_read(head)
    decider = plane.deciders.get(head.endpoint)
    if decider is None:
        raise plane.no_endpoint(head.endpoint)
    endpoint = decider.endpoint
    if head.version and head.version != str(endpoint.number):
        raise NotFoundError(
            f"expected version {endpoint.number} of {head.endpoint!r}, got {head.version[:20]}",
            code="release.unknown",
        )
    return endpoint


def server(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2``."""
    plane.allow_read(head)
    return _encode({"name": "interlock", "version": version("interlock"), "extensions": EXTENSIONS})


def models(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2/models``."""
    plane.allow_read(head)
    return _encode({"models": list(plane.deciders)})


def model(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2/models/{m}``."""
    endpoint = endpoint_of(plane, head)
    return _encode(v2_shapes.metadata(endpoint.content, endpoint.v2))


def config(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2/models/{m}/config``."""
    endpoint = endpoint_of(plane, head)
    return _encode(v2_shapes.config(endpoint.content, endpoint.v2))


def model_ready(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2/models/{m}/ready``."""
    endpoint = endpoint_of(plane, head)
    if not plane.ready or (endpoint.suspended and endpoint.policies.safe_decision is None):
        raise ShedError(f"endpoint {endpoint.name!r} takes no requests now", code="endpoint.away")
    return _encode({"name": endpoint.name, "ready": True})


class IndexRequest(msgspec.Struct):
    """Body of the index; ``ready`` leaves out what is not."""

    ready: bool = False


class IndexEntry(msgspec.Struct):
    """One endpoint of the index."""

    name: str
    version: str
    state: str
    reason: str


def index(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2/repository/index``; an empty body asks for everything."""
    plane.allow_read(head)
    try:
        asked = msgspec.json.decode(body, type=IndexRequest) if body.strip() else IndexRequest()
    except msgspec.MsgspecError:
        asked = IndexRequest()
    found = [
        IndexEntry(
            name,
            str(decider.endpoint.number),
            "UNAVAILABLE" if decider.endpoint.suspended else "READY",
            "suspended" if decider.endpoint.suspended else "",
        )
        for name, decider in plane.deciders.items()
    ]
    found += [
        IndexEntry(each.what, str(each.number), "UNAVAILABLE", f"{each.code}: {each.message}")
        for each in plane.current.refusals
        if each.number
    ]
    return _encode([each for each in found if not asked.ready or each.state == "READY"])


def governed(plane: Plane, head: Head, body: bytes) -> Answer:
    """Load and unload: here they are releases, approved by people."""
    raise ForbiddenError(
        f"{head.endpoint!r} is loaded and unloaded by an approved release, not by a caller",
        code="release.governed",
        hint="propose and activate a release, or suspend the endpoint, in the control plane",
    )
