"""Forgets what has run out: login attempts, old sessions, kept answers, silent workers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from compiler.errors import AppError
from control_plane.db import sql

if TYPE_CHECKING:
    from control_plane.db.pool import Pool

_IDENTITY = sql.load("control_plane.identity")
_NODES = sql.load("control_plane.nodes")
_ANSWERS = "DELETE FROM remembered_answers WHERE created_at < clock_timestamp() - interval '2 days'"
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('interlock housekeeping', 0))"

EVERY_S = 600.0
ATTEMPTS_S = 30 * 86400.0
"""Failed logins are kept this long for whoever looks into a guessing attack."""

_log = logging.getLogger(__name__)


async def run(pool: Pool, *, every_s: float = EVERY_S) -> None:
    """Clean up again and again until cancelled; a database that is away is tried next time."""
    while True:
        try:
            await clean(pool)
        except AppError as error:
            _log.warning("housekeeping waits: %s", error.message)
        await asyncio.sleep(every_s)


async def clean(pool: Pool) -> bool:
    """Clean up once; False when another process is at it."""
    async with pool.transaction() as connection:
        if not await connection.fetchval(_LOCK):
            return False
        await connection.execute(_IDENTITY["forget_old_attempts"], ATTEMPTS_S)
        await connection.execute(_IDENTITY["forget_old_sessions"])
        await connection.execute(_NODES["forget_old_workers"])
        await connection.execute(_ANSWERS)
    return True
