"""Every path of the data plane, as data.

A route with ``fast`` is answered by a plain function from head and body, on either lane. The others
need to wait for something and are answered by coroutines on the slow lane only.
"""

from __future__ import annotations

from msgspec import Struct


class Route(Struct, frozen=True):
    """One operation.

    Attributes:
        name: what answers it.
        method: HTTP method; a GET answers HEAD too.
        path: template; ``{endpoint}`` and ``{version}`` are names.
        fast: a plain function answers it.
        v2: errors have the shape of the Open Inference Protocol.
        summary: one line for the documentation.
        streams: the body has no bound.
    """

    name: str
    method: bytes
    path: str
    fast: bool
    v2: bool = False
    summary: str = ""
    streams: bool = False


def _route(method: str, path: str, name: str, lane: str, summary: str) -> Route:
    return Route(
        name,
        method.encode(),
        path,
        lane == "fast",
        path.startswith("/v2"),
        summary,
        streams=lane == "stream",
    )


ROUTES: tuple[Route, ...] = (
    _route("POST", "/v1/predict", "predict", "fast", "Decide; the key names the endpoint"),
    _route("POST", "/v1/predict/{endpoint}", "predict", "fast", "Decide at an endpoint"),
    _route("POST", "/v1/stream/{endpoint}", "stream", "stream", "Decide line by line"),
    _route("POST", "/v1/outcomes", "outcomes", "fast", "What came of decisions"),
    _route("POST", "/v1/outcomes/{endpoint}", "outcomes", "fast", "What came of decisions"),
    _route("POST", "/v1/overrides", "overrides", "fast", "Who decided otherwise, and why"),
    _route("POST", "/v1/overrides/{endpoint}", "overrides", "fast", "Who decided otherwise"),
    _route("GET", "/livez", "live", "fast", "The process answers"),
    _route("GET", "/readyz", "ready", "fast", "Releases are loaded, requests are welcome"),
    _route("GET", "/v2/health/live", "live", "fast", "The process answers"),
    _route("GET", "/v2/health/ready", "ready", "fast", "Requests are welcome"),
    _route("POST", "/v2/models/{endpoint}/infer", "infer", "fast", "Decide in the open protocol"),
    _route(
        "POST",
        "/v2/models/{endpoint}/versions/{version}/infer",
        "infer",
        "fast",
        "Decide, naming the release",
    ),
    _route("GET", "/v2", "server", "fast", "Name, version and extensions of the server"),
    _route("GET", "/v2/models", "models", "fast", "Names of the endpoints"),
    _route("GET", "/v2/models/{endpoint}", "model", "fast", "Inputs and outputs of an endpoint"),
    _route(
        "GET",
        "/v2/models/{endpoint}/versions/{version}",
        "model",
        "fast",
        "Inputs and outputs of a release",
    ),
    _route("GET", "/v2/models/{endpoint}/ready", "model_ready", "fast", "The endpoint is served"),
    _route(
        "GET",
        "/v2/models/{endpoint}/versions/{version}/ready",
        "model_ready",
        "fast",
        "The release is served",
    ),
    _route("GET", "/v2/models/{endpoint}/config", "config", "fast", "Triton's model configuration"),
    _route(
        "GET",
        "/v2/models/{endpoint}/versions/{version}/config",
        "config",
        "fast",
        "Triton's model configuration of a release",
    ),
    _route("GET", "/v2/models/stats", "stats", "slow", "Triton's statistics of every endpoint"),
    _route("GET", "/v2/models/{endpoint}/stats", "stats", "slow", "Triton's statistics"),
    _route(
        "GET",
        "/v2/models/{endpoint}/versions/{version}/stats",
        "stats",
        "slow",
        "Triton's statistics of a release",
    ),
    _route("POST", "/v2/repository/index", "index", "fast", "What is served and what is refused"),
    _route(
        "POST",
        "/v2/repository/models/{endpoint}/load",
        "load",
        "fast",
        "Refused: releases are approved, not loaded by callers",
    ),
    _route(
        "POST",
        "/v2/repository/models/{endpoint}/unload",
        "unload",
        "fast",
        "Refused: endpoints are suspended by their owner",
    ),
    _route("GET", "/openapi.json", "openapi", "fast", "This description for machines"),
    _route("GET", "/docs", "docs", "fast", "This description for people"),
    _route("GET", "/metrics", "metrics", "slow", "Counters in the Prometheus text format"),
)


def _index() -> dict[tuple[str, ...], dict[bytes, Route]]:
    """Routes by the shape of their path; names stand as ``{...}``, exact paths come first."""
    index: dict[tuple[str, ...], dict[bytes, Route]] = {}
    for route in ROUTES:
        shape = tuple(route.path.split("/"))
        index.setdefault(shape, {})[route.method] = route
    return dict(sorted(index.items(), key=lambda item: sum("{" in part for part in item[0])))


_BY_SHAPE = _index()
_BY_LENGTH: dict[int, list[tuple[str, ...]]] = {}
for _shape in _BY_SHAPE:
    _BY_LENGTH.setdefault(len(_shape), []).append(_shape)

MISSING = Route("missing", b"", "", fast=True, summary="no such path")
MISSING_V2 = Route("missing", b"", "", fast=True, v2=True, summary="no such path")
WRONG_METHOD = Route("wrong_method", b"", "", fast=True, summary="the path has other methods")
WRONG_METHOD_V2 = Route("wrong_method", b"", "", fast=True, v2=True, summary="other methods")


def match(method: bytes, path: str) -> tuple[Route | None, str, str]:
    """Route, endpoint and version of a path. Unknown paths get a route that says so."""
    parts = path.split("/")
    for shape in _BY_LENGTH.get(len(parts), ()):
        names: dict[str, str] = {}
        for want, got in zip(shape, parts, strict=True):
            if want[:1] == "{":
                if not got:
                    break
                names[want] = got
            elif want != got:
                break
        else:
            methods = _BY_SHAPE[shape]
            route = methods.get(b"GET" if method == b"HEAD" else method)
            if route is None:
                route = WRONG_METHOD_V2 if path.startswith("/v2") else WRONG_METHOD
            return route, names.get("{endpoint}", ""), names.get("{version}", "")
    return (MISSING_V2 if path.startswith("/v2") else MISSING), "", ""


def methods_of(path: str) -> tuple[bytes, ...]:
    """Methods that a path has, for ``Allow``."""
    parts = path.split("/")
    for shape in _BY_LENGTH.get(len(parts), ()):
        if all(w[:1] == "{" or w == g for w, g in zip(shape, parts, strict=True)):
            found = _BY_SHAPE[shape]
            return tuple(found) + ((b"HEAD",) if b"GET" in found else ())
    return ()
