"""What the control plane opens at start, in order, and closes in reverse."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from control_plane import housekeeping
from control_plane.db.pool import Pool
from control_plane.doorbell import Doorbell
from control_plane.errors import ConflictError
from control_plane.identity import roster as rosters
from control_plane.schedules import service as schedules
from control_plane.settings import ControlSettings, PoolSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar import Litestar

_log = logging.getLogger(__name__)


async def install_first_roster(pool: Pool, settings: ControlSettings) -> None:
    """Install the roster file of the settings when it is newer than what is stored.

    Raises:
        SetupError: the root key cannot be read.
        RosterError: the file is not signed by the root key.
    """
    root = rosters.read_root_key(settings.root_key)
    if settings.roster_file is None:
        return
    envelope = await asyncio.to_thread(settings.roster_file.read_bytes)
    try:
        async with pool.transaction() as connection:
            await rosters.install(connection, envelope, root, None)
    except ConflictError as error:
        _log.info("roster file left alone: %s", error.message)


@asynccontextmanager
async def run_parts(app: Litestar) -> AsyncIterator[None]:
    """Open the pool and the doorbell, and hand them to the handlers through the state.

    Raises:
        SetupError: a part could not start; nothing stays open.
    """
    settings: ControlSettings = app.state.settings
    async with (
        Pool(PoolSettings(settings.database_url, max_size=settings.pool_size)) as pool,
        Doorbell(settings.redis_url) as bell,
    ):
        app.state.pool = pool
        app.state.bell = bell
        await install_first_roster(pool, settings)
        side = {
            asyncio.create_task(housekeeping.run(pool), name="housekeeping"),
            asyncio.create_task(schedules.run(pool), name="schedules"),
        }
        _log.info("control plane ready")
        try:
            yield
        finally:
            for task in side:
                task.cancel()
            await asyncio.wait(side)
    _log.info("control plane stopped")
