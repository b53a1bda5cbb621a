"""HTTP of routing keys."""

from __future__ import annotations

from uuid import UUID

from litestar import delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from control_plane.deps import Bell, Pool, User, require
from control_plane.keys import service
from control_plane.keys.schemas import KeyLimits, KeyRow, MadeKey, NewKey, Rotation
from control_plane.paging import Cursor, Limit, Page


@post("/keys", guards=[require("keys.write")])
async def create_key(data: JSONBody[NewKey], pool: Pool, user: User, bell: Bell) -> MadeKey:
    """Make a key; it is shown once."""
    async with pool.transaction() as connection:
        made = await service.create(connection, data, user)
    await bell.ring("keys")
    return made


@post("/keys/{key:uuid}/rotate", guards=[require("keys.write")])
async def rotate_key(
    key: FromPath[UUID], data: JSONBody[Rotation], pool: Pool, user: User, bell: Bell
) -> MadeKey:
    """A successor; the old key ends after the overlap."""
    async with pool.transaction() as connection:
        made = await service.rotate(connection, key, data, user)
    await bell.ring("keys")
    return made


@put("/keys/{key:uuid}/limits", guards=[require("keys.write")])
async def limit_key(
    key: FromPath[UUID], data: JSONBody[KeyLimits], pool: Pool, user: User, bell: Bell
) -> None:
    """Replace what the key may ask of all nodes together."""
    async with pool.transaction() as connection:
        await service.limit(connection, key, data, user)
    await bell.ring("keys")


@delete("/keys/{key:uuid}", guards=[require("keys.write")])
async def revoke_key(key: FromPath[UUID], pool: Pool, user: User, bell: Bell) -> None:
    """End a key now."""
    async with pool.transaction() as connection:
        await service.revoke(connection, key, user)
    await bell.ring("keys")


@get("/keys", guards=[require("keys.read")])
async def list_keys(
    pool: Pool, endpoint: FromQuery[str] = "", cursor: Cursor = "", limit: Limit = 100
) -> Page[KeyRow]:
    """Keys without their secrets, newest first."""
    async with pool.connection() as connection:
        return await service.listing(connection, endpoint, cursor, limit)


ROUTE_HANDLERS = [create_key, rotate_key, limit_key, revoke_key, list_keys]
