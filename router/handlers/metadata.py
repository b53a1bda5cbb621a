"""The Open Inference Protocol's descriptions: server, endpoints, configuration, index."""

# ruff: noqa: ARG001 - all handlers have one signature

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from router.errors import ForbiddenError, ShedError
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
        NotFoundError: no such endpoint, or not at this release.
        ShedError: it is refused or still being loaded.
    """
    plane.allow_read(head)
    return plane.decider(head.endpoint, head.version).endpoint


def versions_of(plane: Plane, name: str) -> list[int]:
    """Releases of an endpoint that may be asked for, oldest first."""
    active = plane.deciders[name].endpoint.number
    return sorted([active, *(n for each, n in plane.current.pinned if each == name)])


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
    return _encode(
        v2_shapes.metadata(endpoint.content, endpoint.v2, versions_of(plane, endpoint.name))
    )


def config(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/v2/models/{m}/config``."""
    endpoint = endpoint_of(plane, head)
    return _encode(
        v2_shapes.config(endpoint.content, endpoint.v2, versions_of(plane, endpoint.name))
    )


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
            decider.endpoint.name,
            str(decider.endpoint.number),
            "UNAVAILABLE" if decider.endpoint.suspended else "READY",
            "suspended" if decider.endpoint.suspended else "",
        )
        for decider in plane.all_deciders()
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
