"""The doorbell: a word to the routers that the feed changed. Losing it costs one poll interval."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self

import redis.asyncio as redis
from redis.exceptions import RedisError

CHANNEL = "interlock:feed"
"""Redis channel that routers listen to; also the name of the PostgreSQL notification."""

_log = logging.getLogger(__name__)


class Doorbell:
    """Rings by Redis; every failure is logged and otherwise without consequence."""

    def __init__(self, redis_url: str | None, *, deadline_s: float = 0.5) -> None:
        self._url = redis_url
        self._deadline_s = deadline_s
        self._client: Any = None

    async def __aenter__(self) -> Self:
        """Prepare the client; connecting waits for the first ring."""
        if self._url:
            self._client = redis.Redis.from_url(
                self._url,
                socket_timeout=self._deadline_s,
                socket_connect_timeout=self._deadline_s,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.aclose()

    async def ring(self, what: str) -> bool:
        """Tell the routers; returns whether Redis took the message in time."""
        if self._client is None:
            return False
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._client.publish(CHANNEL, what)
        except (TimeoutError, OSError, RedisError) as error:
            _log.warning(
                "doorbell: Redis did not take %r (%s); routers will notice at their next poll",
                what,
                type(error).__name__,
            )
            return False
        return True

    async def ready(self) -> bool | None:
        """Whether Redis answers; None when there is none."""
        if self._client is None:
            return None
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._client.ping()
        except (TimeoutError, OSError, RedisError):
            return False
        return True
