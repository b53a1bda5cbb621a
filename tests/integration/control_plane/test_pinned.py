"""Which older releases the feed offers to callers who name one."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest


class World:
    """One endpoint with its releases, and the feed as a router reads it."""

    def __init__(self, staff: Any, url: str) -> None:
        self.staff = staff
        self.url = url
        self.paths: dict[int, str] = {}

    async def release(self, *, policies: dict[str, Any] | None = None) -> None:
        """A further release, approved and in service."""
        manager = self.staff["manager"]
        view = await manager.get("/endpoints/credit/draft")
        body = {
            "rules": {"text": f"IF amount < {view['revision']} THEN quick ELSE quick"},
            "models": {"quick": 1},
            "policies": policies or {},
        }
        match = f'"{view["revision"]}"'
        answer = await manager.call("PUT", "/endpoints/credit/draft", body, If_Match=match)
        assert answer.status == 200, answer
        made = await manager.post("/endpoints/credit/releases", {"justification": "next"})
        path = self.paths[made["number"]] = "/releases/" + made["id"]
        await self.staff["compliance"].approve(path)
        await manager.post(path + "/activate")

    async def rollback(self, to: int) -> None:
        body = {"to": to, "reason": "an incident"}
        await self.staff["manager"].post("/endpoints/credit/rollback", body)

    async def feed(self) -> list[tuple[int, bool]]:
        """Numbers that are offered, newest first, and whether each is suspended."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch(
                "SELECT number, suspended FROM feed_pinned ORDER BY number DESC"
            )
        finally:
            await connection.close()
        return [tuple(row) for row in rows]


@pytest.fixture
async def world(staff: Any, proposed: str, database_url: str) -> World:
    """Release 1 in service."""
    await staff["compliance"].approve(proposed)
    await staff["manager"].post(proposed + "/activate")
    return World(staff, database_url)


async def test_releases_that_served_before_are_offered(world: World) -> None:
    assert await world.feed() == []
    await world.release()
    await world.release()
    assert await world.feed() == [(2, False), (1, False)]


async def test_release_that_was_rolled_back_is_not_offered_until_it_serves_again(
    world: World,
) -> None:
    await world.release()
    await world.release()
    await world.rollback(1)
    assert await world.feed() == []
    await world.release()
    assert await world.feed() == [(1, False)]
    await world.rollback(2)
    assert await world.feed() == [(1, False)]
    await world.release()
    assert await world.feed() == [(2, False), (1, False)]


async def test_suspension_and_termination_reach_older_releases(world: World) -> None:
    manager = world.staff["manager"]
    await world.release()
    await manager.post("/endpoints/credit/suspend", {"reason": "complaints"})
    assert await world.feed() == [(1, True)]
    await manager.post("/endpoints/credit/resume", {"reason": "over"})
    assert await world.feed() == [(1, False)]
    await manager.post("/models/quick/versions/1/terminate", {"reason": "recalled"})
    assert await world.feed() == [(1, True)]


async def test_number_of_older_releases_is_bounded_in_draft_and_feed(world: World) -> None:
    manager = world.staff["manager"]
    for _ in range(9):
        await world.release(policies={"pinned_releases": 8})
    assert [number for number, _ in await world.feed()] == [9, 8, 7, 6, 5, 4, 3, 2]
    view = await manager.get("/endpoints/credit/draft")
    for wrong in (9, -1, "all", 1.5):
        body = {"rules": {"text": "ELSE quick"}, "policies": {"pinned_releases": wrong}}
        answer = await manager.call(
            "PUT", "/endpoints/credit/draft", body, If_Match=f'"{view["revision"]}"'
        )
        assert (answer.status, wrong) == (400, wrong)
