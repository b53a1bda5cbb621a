"""``/openapi.json`` and ``/docs``: every path of both lanes, with the endpoints' own features.

Built from the table of routes and from the releases that are served, so it cannot say anything
else than what the router does. The page is one document without scripts and works offline.
"""

# ruff: noqa: ARG001 - all handlers have one signature

from __future__ import annotations

from html import escape
from importlib.metadata import version
from typing import Any

import msgspec

from compiler.schema import CONTEXT_PREFIX, Feature
from router.handlers.stream_format import ARROW, CSV, NDJSON
from router.head import Head
from router.plane import Answer, Plane
from router.problem import ProblemDocument, Reply, V2Error
from router.release.spec import ReleaseContent
from router.routes import ROUTES, Route
from router.wire.native import MAX_WORD

HTML = b"text/html; charset=utf-8"
OPEN = frozenset({"live", "ready", "missing"})
STREAMS = tuple(kind.decode() for kind in (NDJSON, CSV, ARROW))
_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "double"},
    "float32": {"type": "number", "format": "float"},
    "decimal": {"type": "number"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "enum": {"type": "string"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
}
_STATUS = {
    400: "Not JSON, or not the shape of a request",
    401: "No key, or one that is not known",
    403: "The key is expired, or for something else",
    404: "No such endpoint or release",
    409: "The Idempotency-Key was used with another body, or is in progress",
    413: "The body or its number of rows is too large",
    422: "Features do not fit the schema; all of them are listed",
    429: "The key's rate is used up",
    503: "Busy, draining, suspended, or no room for evidence",
    504: "The deadline passed",
}
HEAD_HTML = (
    "<!doctype html><meta charset=utf-8><title>Interlock data plane</title><style>"
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f4f4f4;padding:1rem;overflow:auto}code{font-weight:600}"
    "details{border-bottom:1px solid #ddd;padding:.4rem}</style>"
)
_encode = msgspec.json.encode


def openapi(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/openapi.json``."""
    plane.allow_read(head)
    return _encode(document(plane))


def docs(plane: Plane, head: Head, body: bytes) -> Answer:
    """``/docs``."""
    plane.allow_read(head)
    return Reply(200, page(document(plane)).encode(), HTML)


def document(plane: Plane) -> dict[str, Any]:
    """The description of this router at this moment (OpenAPI 3.1)."""
    contents = [each.endpoint.content for each in plane.deciders.values()]
    _, components = msgspec.json.schema_components(
        [ProblemDocument, V2Error], ref_template="#/components/schemas/{name}"
    )
    for content in contents:
        components[f"{content.endpoint}.request"] = request_schema(content)
        components[f"{content.endpoint}.answer"] = answer_schema(content)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Interlock data plane",
            "version": version("interlock"),
            "description": "Routed, audited decisions. Every answer's record is kept before it "
            "is sent.",
        },
        "paths": _paths(contents),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _paths(contents: list[ReleaseContent]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in ROUTES:
        method = route.method.decode().lower()
        paths.setdefault(route.path, {})[method] = _operation(route, contents)
    for content in contents:
        path = f"/v1/predict/{content.endpoint}"
        route = next(each for each in ROUTES if each.path == "/v1/predict/{endpoint}")
        operation = _operation(route, [content])
        operation["operationId"] = f"predict_{content.endpoint}"
        operation["summary"] = f"Decide at {content.endpoint}, release {content.number}"
        del operation["parameters"]
        paths[path] = {"post": operation}
    return paths


def _operation(route: Route, contents: list[ReleaseContent]) -> dict[str, Any]:
    names = [part[1:-1] for part in route.path.split("/") if part[:1] == "{"]
    operation: dict[str, Any] = {
        "operationId": f"{route.name}_{route.method.decode().lower()}_{len(names)}",
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": _responses(route, contents),
    }
    if route.name not in OPEN:
        operation["security"] = [{"bearer": []}, {"key": []}]
    if route.name == "predict":
        schemas = [_ref(f"{content.endpoint}.request") for content in contents]
        operation["requestBody"] = _content({"anyOf": schemas} if schemas else {"type": "object"})
    elif route.method == b"POST":
        kinds = STREAMS if route.streams else ("application/json",)
        operation["requestBody"] = {"content": {kind: {"schema": {}} for kind in kinds}}
    return operation


def _responses(route: Route, contents: list[ReleaseContent]) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    if route.name == "predict" and contents:
        schema = {"anyOf": [_ref(f"{content.endpoint}.answer") for content in contents]}
    responses: dict[str, Any] = {"200": {"description": "The answer", **_content(schema)}}
    if route.name in OPEN:
        return responses
    kind = "application/json" if route.v2 else "application/problem+json"
    problem = {"schema": _ref("V2Error" if route.v2 else "ProblemDocument")}
    for status, words in _STATUS.items():
        responses[str(status)] = {"description": words, "content": {kind: problem}}
    return responses


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def feature_schema(feature: Feature) -> dict[str, Any]:
    """JSON schema of one feature."""
    found = dict(_TYPES[feature.type])
    given = {
        "enum": list(feature.values) if feature.type == "enum" else None,
        "minimum": feature.min if not isinstance(feature.min, str) else None,
        "maximum": feature.max if not isinstance(feature.max, str) else None,
        "default": feature.default,
        "description": " ".join(filter(None, (feature.description, feature.unit))) or None,
    }
    found.update({name: value for name, value in given.items() if value is not None})
    if feature.nullable:
        found["type"] = [found["type"], "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return found


def _object(content: ReleaseContent, *, context: bool) -> dict[str, Any]:
    own = {
        name.removeprefix(CONTEXT_PREFIX): feature
        for name, feature in content.features.items()
        if name.startswith(CONTEXT_PREFIX) == context
    }
    return {
        "type": "object",
        "properties": {name: feature_schema(feature) for name, feature in own.items()},
        "required": [n for n, f in own.items() if not f.nullable and f.default is None],
        "additionalProperties": content.policies.extra == "ignore",
    }


def request_schema(content: ReleaseContent) -> dict[str, Any]:
    """JSON schema of one row, or of several, for an endpoint."""
    word = {"type": "string", "maxLength": MAX_WORD}
    context = _object(content, context=True)
    row = {
        "type": "object",
        "properties": {
            "features": _object(content, context=False),
            "id": word,
            "subject": word,
            "split_id": word,
            "context": context,
            "explain": {"type": "boolean", "default": False},
            "timeout_ms": {"type": "integer", "minimum": 1, "maximum": 600_000},
        },
        "required": ["features", "context"] if context["required"] else ["features"],
        "additionalProperties": False,
    }
    rows = {"type": "array", "items": row, "maxItems": content.policies.max_rows}
    many = {
        "type": "object",
        "properties": {"rows": rows},
        "required": ["rows"],
        "additionalProperties": False,
    }
    return {"oneOf": [row, many]}


def answer_schema(content: ReleaseContent) -> dict[str, Any]:
    """JSON schema of one answer of an endpoint."""
    number = {"type": "number"}
    outputs = {
        "classification": {
            "label": {"type": "string", "enum": list(content.output.classes)},
            "probability": {
                "type": "object",
                "properties": dict.fromkeys(content.output.classes, number),
            },
        },
        "regression": {"value": number},
        "clustering": {"cluster": {"type": "integer"}, "distance": number},
    }[content.output.task]
    text = {"type": "string"}
    optional = {"type": ["string", "null"]}
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "request_id": text,
            "endpoint": text,
            "release": {"type": "integer"},
            "rule": text,
            "model": optional,
            "version": {"type": ["integer", "null"]},
            "outputs": {"type": ["object", "null"], "properties": outputs},
            "decision": optional,
            "decision_rule": optional,
            "reason": text,
            "durability": text,
        },
        "required": ["id", "endpoint", "release", "rule", "decision", "durability"],
    }


def page(described: dict[str, Any]) -> str:
    """The description as one HTML page."""
    parts = [
        HEAD_HTML,
        f"<h1>Interlock data plane {escape(described['info']['version'])}</h1>",
        f"<p>{escape(described['info']['description'])} Machines read ",
        "<a href=/openapi.json>/openapi.json</a>.</p><h2>Paths</h2>",
    ]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(
                f"<details><summary><code>{method.upper()} {escape(path)}</code> "
                f"{escape(operation['summary'])}</summary>{_pre(operation)}</details>"
            )
    parts.append("<h2>Bodies</h2>")
    for name, schema in described["components"]["schemas"].items():
        parts.append(
            f"<details><summary><code>{escape(name)}</code></summary>{_pre(schema)}</details>"
        )
    return "\n".join(parts)


def _pre(value: Any) -> str:
    return f"<pre>{escape(msgspec.json.format(_encode(value), indent=2).decode())}</pre>"
