"""Paging through jobs while new ones arrive."""

from __future__ import annotations

import pytest

from control_plane.db.pool import Pool
from control_plane.errors import InvalidError, NotFoundError
from control_plane.jobs import service
from control_plane.settings import PoolSettings


@pytest.fixture
async def pool(database_url):
    async with Pool(PoolSettings(database_url)) as pool:
        yield pool


async def put(pool, number):
    async with pool.transaction() as connection:
        job, _ = await service.enqueue(
            connection, "echo", {"n": number}, created_by="ada@example.com"
        )
        return job


async def page(pool, cursor=None, limit=2, **filters):
    async with pool.connection() as connection:
        return await service.listing(
            connection,
            state=filters.get("state"),
            kind=filters.get("kind"),
            cursor=cursor,
            limit=limit,
        )


async def test_pages_show_each_job_once_though_new_ones_arrive(pool):
    jobs = [await put(pool, n) for n in range(5)]
    first = await page(pool)
    await put(pool, 99)
    second = await page(pool, first.next)
    third = await page(pool, second.next)
    ids = [job.id for part in (first, second, third) for job in part.items]
    assert ids == jobs[::-1]
    assert third.next is None


async def test_unknown_state_cursor_and_limit_are_refused(pool):
    for bad in ({"state": "lost"}, {"cursor": "!!"}, {"limit": 0}, {"limit": 10**9}):
        with pytest.raises(InvalidError):
            await page(pool, **bad)


async def test_unknown_job_is_named(pool):
    with pytest.raises(NotFoundError, match="0000"):
        async with pool.connection() as connection:
            await service.detail(connection, "00000000-0000-0000-0000-000000000000")
