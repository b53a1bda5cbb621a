"""Every operation of the API document, as every role, with values that nobody should send."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

HOSTILE = (
    "", " ", "\x00", "'; DROP TABLE users; --", "../../etc/passwd", "%", "%00", "a" * 3000,
    "\ud7ff\uffff", "ä ö", "null", "-1", "99999999999999999999999", "1e400", "<script>",
    "00000000-0000-0000-0000-000000000000", "2026-13-45T99:99:99Z", "{}",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 2**70, 1e308, "", "\x00", "'; DROP TABLE users; --", [], {}, [[[[]]]],
    {"a": {"b": {"c": {}}}}, "ä" * 500,
)  # fmt: skip
RAW = (
    (b"", "application/json"),
    (b"{", "application/json"),
    (b"[" * 5000, "application/json"),
    (b'{"name": "\xff\xfe"}', "application/json"),
    (b"null", "application/json"),
    (b"a,b\n1,2\n", "text/csv"),
    (b"<x/>", "application/xml"),
)
QUIET = ("/api/logout", "/api/login")
"""Left out: they end or throttle the sessions that the others are called with."""
ROUNDS = 4


def resolve(document: Any, schema: Any) -> Any:
    """A schema behind its reference."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def body_of(document: Any, schema: Any, draw: random.Random, depth: int = 0) -> Any:
    """A body of about the right shape with wrong values in it."""
    schema = resolve(document, schema)
    if draw.random() < 0.25 or depth > 4:
        return draw.choice(VALUES)
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return body_of(document, draw.choice(schema[word]), draw, depth + 1)
    match schema.get("type"):
        case "object":
            return {
                name: body_of(document, each, draw, depth + 1)
                for name, each in schema.get("properties", {}).items()
                if draw.random() < 0.8
            }
        case "array":
            items = schema.get("items", {})
            return [body_of(document, items, draw, depth + 1) for _ in range(draw.randrange(3))]
        case "integer" | "number":
            return draw.choice((0, 1, -1, 2**63, 0.5))
        case "boolean":
            return draw.choice((True, False, 1))
    return draw.choice((*HOSTILE, *schema.get("enum", [])))


@pytest.mark.parametrize("role", ["admin", "manager", "scientist", "compliance"])
async def test_no_request_gets_a_server_error(house: Any, staff: Any, role: str) -> None:
    person = house.people["admin@bank.example"] if role == "admin" else staff[role]
    document = (await house.client.get("/docs/openapi.json")).json()
    draw = random.Random(role)
    tried = 0
    for path, methods in document["paths"].items():
        if not path.startswith("/api") or path.startswith(QUIET):
            continue
        for method, operation in methods.items():
            for _ in range(ROUNDS):
                answer = await call(house, person, document, path, method, operation, draw)
                tried += 1
                where = (method, path, answer.status_code, answer.content[:300])
                assert answer.status_code < 500 or answer.status_code == 503, where
                if answer.status_code >= 400 and answer.headers["content-type"]:
                    assert "problem+json" in answer.headers["content-type"], where
                    assert answer.json()["code"], where
    assert tried > 400


async def call(
    house: Any, person: Any, document: Any, path: str, method: str, operation: Any,
    draw: random.Random,
) -> Any:  # fmt: skip
    query = {}
    for parameter in operation.get("parameters", []):
        value = draw.choice(HOSTILE)
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", quote(value or "x", safe=""))
        elif parameter["in"] == "query" and draw.random() < 0.6:
            query[parameter["name"]] = value
    headers = {"Authorization": f"Bearer {person.token}"}
    content = None
    if "requestBody" in operation:
        if draw.random() < 0.25:
            content, headers["Content-Type"] = draw.choice(RAW)
        else:
            schema = next(iter(operation["requestBody"]["content"].values()))["schema"]
            content = json.dumps(body_of(document, schema, draw)).encode()
            headers["Content-Type"] = "application/json"
    return await house.client.request(
        method.upper(), path, params=query, content=content, headers=headers
    )
