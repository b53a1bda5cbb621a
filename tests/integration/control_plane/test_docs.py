"""The documentation is there without the Internet and says what the routes say."""

from __future__ import annotations

from typing import Any

from control_plane.app import handlers


async def test_docs_need_no_other_server_and_name_every_route(house: Any) -> None:
    page = await house.client.get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://control", "")
    assert "https://" not in page.text
    document = (await house.client.get("/docs/openapi.json")).json()
    for path, handler in handlers(house.app):
        if path.startswith("/api"):
            assert any(name in page.text for name in document["paths"])
            assert handler.fn.__doc__, path
    assert document["paths"]["/api/keys"]["post"]["responses"].keys() == {"201", "default"}


async def test_health_says_what_it_looked_at(house: Any) -> None:
    assert (await house.client.get("/livez")).text == "ok"
    ready = await house.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"database": "ok", "redis": "ok"})


async def test_wrong_requests_are_worded_as_problems(house: Any, staff: Any) -> None:
    manager = staff["manager"]
    cases = [
        ("GET", "/nowhere", None, 404, "route.unknown"),
        ("PATCH", "/login", {}, 405, "method.unknown"),
        ("POST", "/keys", b"{", 400, "body.shape"),
        ("POST", "/keys", {"endpoint": 5, "name": "x"}, 400, "body.shape"),
        ("POST", "/keys", {"endpoint": "a", "name": "x", "more": 1}, 400, "body.shape"),
        ("POST", "/keys", b"[" * 100_000, 400, "body.json"),
        ("POST", "/keys", b'{"endpoint": "\\ud800", "name": "x"}', 400, "body.shape"),
        ("POST", "/keys", b'{"endpoint": "a", "name": "\xff"}', 400, "body.json"),
        ("POST", "/keys", b'"' + b"x" * (5 << 20) + b'"', 413, "body.too_large"),
    ]
    connection = {"name": "x", "host": "h", "database": "d", "user": {}, "password": "p"}
    scientist = await staff["scientist"].call("POST", "/connections", connection)
    assert (scientist.status, scientist.code) == (400, "body.shape")
    for method, path, body, status, code in cases:
        answer = await manager.call(method, path, body)
        assert (answer.status, answer.code) == (status, code), (path, answer.raw[:300])
        assert answer.headers["content-type"].startswith("application/problem+json")
