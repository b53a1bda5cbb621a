"""What the control plane opens at start, in order, and closes in reverse."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from control_plane.db.pool import Pool
from control_plane.doorbell import Doorbell
from control_plane.settings import ControlSettings, PoolSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar import Litestar

_log = logging.getLogger(__name__)


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
        _log.info("control plane ready")
        yield
    _log.info("control plane stopped")
