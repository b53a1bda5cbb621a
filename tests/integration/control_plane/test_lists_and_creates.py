"""Generated from the API's document: every list comes in pages, every create can be repeated.

What does not is named here with its reason; a new route without paging or without a body to create
with stops this file.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from control_plane.paging import write_cursor
from loadtest.bench.control_reads import resolve
from loadtest.bench.control_state import SUBJECT_KEY, add_audit_rows, fill

UNPAGED = {
    "/api/roles": "four roles, part of the program",
    "/api/compliance/profiles": "files of the program",
    "/api/connections": "a handful per installation, by name",
    "/api/models/{model}/versions/{version}/reports": "an approver has to open them all",
    "/api/validations/{validation}/reports": "five per validation",
    "/api/jobs/{job}/log": "goes on by `after`, the number of the last line, with `limit`",
}
STREAMED = {
    "/api/models": "a package is known by its digest: again is `model.version`",
    "/api/datasets/{name}/snapshots": "a snapshot is known by its digest: again is the same one",
}
"""Creates whose body is a stream: they take no Idempotency-Key, for the reason given."""
OPEN = {"/api/bootstrap", "/api/login"}
PASSWORD = "a long sentence nobody guesses"


def schema_of(document: Any, schema: Any) -> Any:
    """A schema behind its reference."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def is_list(document: Any, operation: Any) -> bool:
    """Whether an operation answers an array, or a page with items."""
    for status, response in operation["responses"].items():
        for body in (response.get("content") or {}).values() if status.startswith("2") else ():
            schema = schema_of(document, body.get("schema", {}))
            if schema.get("type") == "array" or "items" in schema.get("properties", {}):
                return True
    return False


@pytest.fixture
def control_settings(control_settings: Any, tmp_path: Any) -> Any:
    """The settings with a key that keeps secrets of connections."""
    path = tmp_path / "master.key"
    path.write_text(base64.b64encode(b"m" * 32).decode())
    path.chmod(0o600)
    return msgspec.structs.replace(control_settings, master_key=path)


@pytest.fixture
async def document(house: Any) -> Any:
    return (await house.client.get("/docs/openapi.json")).json()


def parameters(operation: Any) -> set[str]:
    return {each["name"] for each in operation.get("parameters", [])}


async def test_every_list_takes_a_cursor_and_a_limit_or_says_why_not(document: Any) -> None:
    lists = {
        path: parameters(methods["get"])
        for path, methods in document["paths"].items()
        if "get" in methods and is_list(document, methods["get"])
    }
    unpaged = {path for path, names in lists.items() if not {"cursor", "limit"} <= names}
    assert unpaged == set(UNPAGED)
    assert len(lists) > 20


QUIET = {
    "audit of a quiet one", "audit by key", "audit by rule", "audit of errors", "audit parts",
    "audit by outcome", "disposals", "retention", "connections", "log of an actor",
    "log of an act",
}  # fmt: skip
"""Reads of the generated state that find nothing, on purpose or because so few rows are made."""


async def test_every_list_pages_without_loss_or_repetition(
    house: Any, staff: Any, document: Any, database_url: str
) -> None:
    """On the state that the benchmark generates, in two steps as it grows there."""
    secrets = house.settings.home / "secrets"
    secrets.mkdir()
    (secrets / "subject.key").write_bytes(SUBJECT_KEY)
    await fill(database_url, lambda _: None)
    await add_audit_rows(database_url, 0, 4000, lambda _: None)
    await add_audit_rows(database_url, 4000, 5000, lambda _: None)
    paged = {
        re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$")
        for path, methods in document["paths"].items()
        if "cursor" in parameters(methods.get("get", {}))
    }
    manager, tried = staff["manager"], set()
    for name, path in await resolve(manager.get):
        address, _, query = path.partition("?")
        route = next((each for each in paged if each.match("/api" + address)), None)
        body = await manager.get(path)
        if isinstance(body, dict) and body.get("items") == []:
            assert name in QUIET
        if route is None or name == "audit parts":
            continue
        tried.add(route)
        query = "&".join(part for part in query.split("&") if not part.startswith("limit="))
        found: list[Any] = []
        cursor = ""
        while len(found) < 7:
            page = await manager.get(f"{address}?{query}&limit=3&cursor={cursor}")
            assert len(page["items"]) <= 3, name
            found += page["items"]
            if not page["next"]:
                break
            cursor = page["next"]
        whole = (await manager.get(f"{address}?{query}&limit=50"))["items"]
        if not address.startswith(("/log", "/audit", "/nodes")):  # which change by the second
            assert found == whole[: len(found)], name
        assert len({str(row) for row in found}) == len(found), name
        for wrong, status in (("limit=0", 400), ("limit=100000", 400), ("cursor=%00", 422)):
            answer = await manager.call("GET", f"{address}?{query}&{wrong}")
            assert answer.status == status, (name, wrong, answer.raw)
        for odd in (write_cursor(10**30), write_cursor("x"), write_cursor(None), "e30"):
            answer = await manager.call("GET", f"{address}?{query}&cursor={odd}")
            assert answer.status < 500, (name, odd, answer.raw)
    missing = {each.pattern for each in paged - tried}
    assert missing == {"/api/services/[^/]+/tokens$", "/api/audit/parts$"}


async def test_every_create_says_that_it_takes_a_key(document: Any) -> None:
    lacking = {
        path
        for path, methods in document["paths"].items()
        if "post" in methods and "Idempotency-Key" not in parameters(methods["post"])
    }
    assert lacking == set(STREAMED) | OPEN
    assert "Idempotency-Key" not in parameters(document["paths"]["/api/users"]["get"])


def creates() -> list[tuple[str, str, str, Any]]:
    """Route, person, address and body of creates that need no training, in order."""
    soon = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    dataset = {"name": "d", "task": "clustering", "source": "s", "licence": "l"}
    finding = {"section": "S2", "severity": "low", "text": "t", "owner": "o", "due": "2030-01-01"}
    schedule = {"name": "s", "kind": "import", "target": "d", "every_s": 3600,
                "request": {"connection": "c", "query": "SELECT 1"}}  # fmt: skip
    version = "/models/quick/versions/1"
    return [
        ("/api/users", "admin", "/users",
         {"name": "x", "email": "x@bank.example", "password": PASSWORD, "role": "manager"}),
        ("/api/services", "admin", "/services",
         {"name": "robot", "owner": "mia@bank.example", "role": "manager"}),
        ("/api/services/{email}/tokens", "admin",
         "/services/robot@service.internal/tokens", {"name": "ci"}),
        ("/api/endpoints", "manager", "/endpoints", {"name": "other"}),
        ("/api/keys", "manager", "/keys", {"endpoint": "other", "name": "web", "expires_at": soon}),
        ("/api/keys/{key}/rotate", "manager", "/keys/{id}/rotate", {}),
        ("/api/endpoints/{endpoint}/releases", "manager", "/endpoints/credit/releases",
         {"justification": "again"}),
        ("/api/datasets", "scientist", "/datasets", dataset),
        ("/api/connections", "scientist", "/connections",
         {"name": "c", "host": "h", "database": "d", "user": "u", "password": "p"}),
        ("/api/schedules", "scientist", "/schedules", schedule),
        ("/api/datasets/{name}/imports", "scientist", "/datasets/d/imports",
         {"connection": "c", "query": "SELECT 1"}),
        ("/api/models/{model}/versions/{version}/compliance/answers", "manager",
         f"{version}/compliance/answers", {"item": "S2.decision", "value": "v"}),
        ("/api/models/{model}/versions/{version}/compliance/findings", "manager",
         f"{version}/compliance/findings", finding),
        ("/api/models/{model}/versions/{version}/monitoring/propose", "manager",
         f"{version}/monitoring/propose", {"reason": "r"}),
        ("/api/models/{model}/versions/{version}/monitoring/register", "compliance",
         f"{version}/monitoring/register", {"reason": "r"}),
    ]  # fmt: skip


TESTED_ELSEWHERE = {
    "/api/runs": "the walk-through repeats one",
    "/api/validations": "needs a trained version",
    "/api/jobs/{job}/retry": "needs a failed job",
    "/api/audit/erasures": "needs sealed records",
    "/api/audit/records/{record}/explain": "needs a record",
}
"""Creates of the same middleware whose preconditions this file does not set up."""


async def test_a_create_repeated_with_its_key_happens_once(
    house: Any, staff: Any, document: Any, proposed: str, db: Any
) -> None:
    made = {
        path
        for path, methods in document["paths"].items()
        if {"201", "202"} & set(methods.get("post", {}).get("responses", {}))
    }
    named = {route for route, *_ in creates()}
    assert made == named | set(TESTED_ELSEWHERE) | set(STREAMED) | {"/api/bootstrap"}
    last: Any = {}
    for number, (route, who, address, body) in enumerate(creates()):
        person, key = staff[who], f"k{number}"
        path = address.replace("{id}", str(last.get("id", "")))
        first = await person.call("POST", path, body, Idempotency_Key=key)
        assert first.status in (201, 202), (route, first.raw)
        before = await rows(db)
        again = await person.call("POST", path, body, Idempotency_Key=key)
        assert (again.status, again.raw) == (first.status, first.raw), route
        assert again.headers["idempotency-replayed"] == "true"
        other = await person.call("POST", path, {**body, "name": "else"}, Idempotency_Key=key)
        assert (other.status, other.code) == (409, "idempotency.mismatch"), route
        assert await rows(db) == before, route
        last = first.body


async def rows(db: Any) -> dict[str, int]:
    """How many rows every table has."""
    names = await db.fetch(
        "SELECT relname AS name FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace"
    )
    return {row["name"]: await db.fetchval(f"SELECT count(*) FROM {row['name']}") for row in names}
