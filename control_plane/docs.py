"""The API's documentation page: plain HTML from the OpenAPI document, so that it works offline."""

from __future__ import annotations

from html import escape
from typing import Any

from litestar import Litestar, Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from control_plane.idempotency import MAX_KEY, remembers

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem}code,pre{font:13px ui-monospace,monospace}
details{border-bottom:1px solid #ccc;padding:.35rem 0}summary{cursor:pointer}
pre{background:#f4f4f4;padding:.6rem;overflow:auto}b{display:inline-block;min-width:4.5rem}
"""


class PlainDocs(OpenAPIRenderPlugin):
    """One page without scripts: every operation with its parameters, body and answer."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        complete(openapi_schema, request.app)
        groups: dict[str, list[str]] = {}
        for path, methods in openapi_schema["paths"].items():
            for method, operation in methods.items():
                group = path.removeprefix("/api").strip("/").partition("/")[0]
                groups.setdefault(group, []).append(
                    _operation(method, path, operation, openapi_schema)
                )
        body = "".join(
            f"<h2>{escape(name)}</h2>{''.join(parts)}" for name, parts in sorted(groups.items())
        )
        title = escape(openapi_schema["info"]["title"])
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
            f"<style>{_STYLE}</style><h1>{title}</h1>"
            "<p>JSON below <code>/api</code>; <code>Authorization: Bearer</code> with the token of "
            "<code>POST /api/login</code>; errors are <code>application/problem+json</code> with a "
            "stable <code>code</code>; lists come in pages (<code>cursor</code>, <code>limit"
            "</code>); creates take an <code>Idempotency-Key</code>. "
            "The same as <a href='/docs/openapi.json'>OpenAPI</a>.</p>"
            f"{body}</html>"
        ).encode()


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    for parameter in operation.get("parameters", []):
        kind = _shape(parameter.get("schema", {}), document, 0)
        needed = "required" if parameter.get("required") else "optional"
        parts.append(
            f"<p><code>{escape(parameter['name'])}</code> in {parameter['in']}, {needed}: "
            f"<code>{escape(kind)}</code></p>"
        )
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, body in content.items():
        shape = escape(_shape(body.get("schema", {}), document, 0))
        parts.append(f"<p>body, {escape(media_type)}</p><pre>{shape}</pre>")
    for status, response in operation.get("responses", {}).items():
        for body in (response.get("content") or {}).values():
            if status.startswith("2"):
                shape = escape(_shape(body.get("schema", {}), document, 0))
                parts.append(f"<p>answer {status}</p><pre>{shape}</pre>")
    summary = escape(operation.get("description", "").partition("\n")[0])
    return (
        f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code> {summary}"
        f"</summary>{''.join(parts)}</details>"
    )


def _shape(schema: dict[str, Any], document: dict[str, Any], depth: int) -> str:
    """A schema in the form of the JSON it describes, three levels deep."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        if depth > 2:
            return name
        schema = document["components"]["schemas"].get(name, {})
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " | ".join(_shape(part, document, depth) for part in schema[choice])
    if "enum" in schema:
        return " | ".join(repr(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_shape(schema.get('items', {}), document, depth + 1)}]"
    fields = schema.get("properties")
    if not fields:
        return " | ".join(kind) if isinstance(kind, list) else str(kind)
    pad = "  " * (depth + 1)
    needed = set(schema.get("required", []))
    lines = [
        f"{pad}{name}{'' if name in needed else '?'}: {_shape(part, document, depth + 1)}"
        for name, part in fields.items()
    ]
    return "{\n" + "\n".join(lines) + "\n" + "  " * depth + "}"


PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "ProblemDocument",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        name: {"type": "integer" if name == "status" else "string"}
        for name in ("type", "title", "status", "detail", "code", "at", "hint")
    },
}
REFUSAL: dict[str, Any] = {
    "description": "Refused; `code` says why.",
    "content": {"application/problem+json": {"schema": PROBLEM}},
}


ONCE: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body gets the first answer again, for a day.",
    "schema": {"type": "string", "maxLength": MAX_KEY},
}


def complete(document: dict[str, Any], app: Litestar) -> None:
    """Say what holds for every operation: problems, and keys that make a POST safe to repeat."""
    once = {
        (route.path_format, method.lower())
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if method == "POST" and remembers(handler)
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation.setdefault("responses", {})
            answers.pop("400", None)  # the framework's own shape, which is never sent
            answers["default"] = REFUSAL
            parameters = operation.setdefault("parameters", [])
            if (path, method) in once and ONCE not in parameters:
                parameters.append(ONCE)


class Document(JsonRenderPlugin):
    """The OpenAPI document with what holds for every operation."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document as JSON."""
        complete(openapi_schema, request.app)
        return super().render(request, openapi_schema)


def openapi() -> OpenAPIConfig:
    """Where the documentation is served: ``/docs`` and ``/docs/openapi.json``."""
    return OpenAPIConfig(
        title="Interlock control plane",
        version="1",
        path="/docs",
        render_plugins=[PlainDocs(path="/"), Document()],
        components=Components(
            security_schemes={"session": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"session": []}],
    )
