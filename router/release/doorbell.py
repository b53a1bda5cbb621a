"""The doorbell: Redis says that the feed changed. Losing it costs one poll interval."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

CHANNEL = "interlock:feed"
RETRY_S = 2.0

_log = logging.getLogger(__name__)


def _library() -> Any:
    import redis.asyncio

    return redis.asyncio


async def listen(url: str, rung: asyncio.Event) -> None:
    """Set ``rung`` at every message; reconnects for ever, ends by cancellation."""
    library = await asyncio.to_thread(_library)  # a third of a second of imports, off the loop
    said = False
    while True:
        client = library.Redis.from_url(
            url, socket_connect_timeout=RETRY_S, health_check_interval=15
        )
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                said = False
                rung.set()  # whatever was missed while we were away
                async for message in channel.listen():
                    if message.get("type") == "message":
                        rung.set()
        except (OSError, TimeoutError, library.RedisError) as error:
            if not said:
                _log.warning("the doorbell is away (%s); polling only", type(error).__name__)
                said = True
        finally:
            await client.aclose()
        await asyncio.sleep(RETRY_S)
