"""HTTP of router nodes."""

from __future__ import annotations

from litestar import get

from control_plane.db import sql
from control_plane.deps import Pool, require
from control_plane.nodes.schemas import WorkerRow
from control_plane.paging import Cursor, Limit, Page, page_of, read_cursor

_SQL = sql.load("control_plane.nodes")

SILENT_S = 15.0
"""A worker that was silent this long counts as gone; it reports every few seconds."""


@get("/nodes", guards=[require("nodes.read")])
async def list_nodes(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[WorkerRow]:
    """Router workers by node, with the releases they hold."""
    after = read_cursor(cursor, str, int) if cursor else ("", -1)
    async with pool.connection() as connection:
        rows = await connection.fetch(_SQL["list_workers"], *after, limit + 1)
    return page_of(
        rows,
        limit,
        lambda r: WorkerRow(**r, alive=r["age_s"] < SILENT_S),
        lambda r: (r["node"], r["worker"]),
    )


ROUTE_HANDLERS = [list_nodes]
