"""Every role at every route: who lacks the permission is refused before anything is looked at."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from control_plane.app import guard_of, handlers
from control_plane.deps import require
from control_plane.identity.permissions import PERMISSIONS, ROLES

ROLE_OF = {
    "admin": "superadmin",
    "manager": "manager",
    "scientist": "data_scientist",
    "compliance": "compliance_manager",
}
NOTHING = str(UUID(int=0))


def permission_of(handler: Any) -> str | None:
    """What a handler demands; None when being signed in is enough."""
    guard = guard_of(handler)
    late = handler.opt.get("demands")
    return late or (guard.permission if isinstance(guard, require) else None)


def address(path: str) -> str:
    """The path with values that name nothing."""
    path = re.sub(r"\{(\w+):uuid\}", NOTHING, path)
    path = re.sub(r"\{(\w+):int\}", "1", path)
    return re.sub(r"\{[^}]+\}", "nothing", path).removeprefix("/api")


def body_of(path: str, handler: Any) -> Any:
    """A body that lets a handler get to the question of permission, where it asks late."""
    if "demands" not in handler.opt:
        return b""
    return {"envelope": "{}"} if path.endswith("/approve") else {"reason": "x"}


@pytest.fixture
def routes(house: Any) -> list[tuple[str, str, Any]]:
    """Every (method, path, handler) below ``/api`` that is not open."""
    return [
        (method, path, handler)
        for path, handler in handlers(house.app)
        for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"})
        if path.startswith("/api") and not handler.opt.get("open")
    ]


async def test_every_role_at_every_route(staff: Any, routes: Any) -> None:
    wrong = []
    tried = 0
    for method, path, handler in routes:
        permission = permission_of(handler)
        for name, role in ROLE_OF.items():
            if permission is None or path == "/api/logout":
                continue
            tried += 1
            answer = await staff[name].call(method, address(path), body_of(path, handler))
            allowed = permission in ROLES[role]
            denied = answer.status == 403 and answer.code == "permission.denied"
            looked = "demands" in handler.opt and answer.status == 404
            if answer.status >= 500 or (allowed == denied and not looked):
                wrong.append((role, method, path, answer.status, answer.raw[:200]))
    assert wrong == []
    assert tried > 200


async def test_the_matrix_that_people_are_shown_is_the_one_that_holds(
    staff: Any, routes: Any
) -> None:
    """A permission that no route asks for would promise something that nothing keeps."""
    shown = {
        row["name"]: set(row["permissions"])
        for row in (await staff["admin"].get("/roles"))["items"]
    }
    let_through: dict[str, set[str]] = {role: set() for role in shown}
    asked = set()
    for method, path, handler in routes:
        permission = permission_of(handler)
        if permission is None:
            continue
        asked.add(permission)
        for name, role in ROLE_OF.items():
            answer = await staff[name].call(method, address(path), body_of(path, handler))
            if answer.status != 403 and permission in shown[role]:
                let_through[role].add(permission)
            assert answer.status == 403 or permission in shown[role] or "demands" in handler.opt
    asked |= {"releases.approve", "models.approve"}  # judged late: after whose work it is
    assert asked == set(PERMISSIONS)
    for role, words in shown.items():
        assert words - let_through[role] <= {"releases.approve", "models.approve"}, role


async def test_no_route_answers_a_stranger(house: Any, routes: Any) -> None:
    stranger = type(house.people["admin@bank.example"])(house, "nobody", None)
    for token in ("", "ils_wrong", "ilt_wrong", "\x7f", "a" * 5000):
        stranger.token = token
        answers = {
            (await stranger.call(method, address(path))).status for method, path, _ in routes
        }
        assert answers == {401}


async def test_writes_by_those_without_the_right_leave_no_trace(
    house: Any, staff: Any, routes: Any
) -> None:
    before = len((await staff["admin"].get("/log?limit=1000"))["items"])
    for method, path, handler in routes:
        permission = permission_of(handler)
        for name, role in ROLE_OF.items():
            if method != "GET" and permission and permission not in ROLES[role]:
                answer = await staff[name].call(method, address(path), body_of(path, handler))
                assert 400 <= answer.status < 500
    after = len((await staff["admin"].get("/log?limit=1000"))["items"])
    assert after == before
