"""Buckets of tokens that all nodes share, in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

REDIS_S = 0.25
"""Longest wait for an answer."""


class LedgerAwayError(Exception):
    """The shared buckets did not answer."""


class Claim(Struct, frozen=True):
    """What a worker tells the shared bucket.

    Attributes:
        key_id: whose bucket.
        rate: tokens per second.
        burst: tokens at most.
        back: tokens returned; below zero what was spent without a lease.
        want: tokens asked for.
    """

    key_id: str
    rate: float
    burst: float
    back: float
    want: float


class Ledger(Protocol):
    """The shared buckets."""

    async def settle(self, claims: list[Claim]) -> list[float]:
        """Tokens per claim, in order."""
        ...

    async def close(self) -> None:
        """Let go of what is held."""
        ...


def _library() -> Any:
    import redis.asyncio

    return redis.asyncio


SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(ARGV[5]) or (tonumber(time[1]) + tonumber(time[2]) / 1e6)
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local back, want = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate + back)
local lease = 0
if tokens >= 1 then
  lease = math.min(want, math.max(1, math.floor(tokens / 2)))
end
tokens = tokens - lease
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil(math.max(0, burst - tokens) / rate) + 60)
return tostring(lease)
"""
"""One settlement. Half of the bucket at most, so that no worker takes what others need now."""
PREFIX = "interlock:rate:"


class RedisLedger:
    """Shared buckets in Redis; all claims of a settlement in one round trip.

    Args:
        url: of the server.
        now: seconds that replace the server's clock, for tests.
    """

    def __init__(self, url: str, now: Callable[[], float] | None = None) -> None:
        self._url = url
        self._now = now
        self._client: Any = None

    async def settle(self, claims: list[Claim]) -> list[float]:
        """Tokens per claim, in order.

        Raises:
            LedgerAwayError: no answer in time.
        """
        library = await asyncio.to_thread(_library)  # a third of a second of imports, off the loop
        if self._client is None:
            self._client = library.Redis.from_url(
                self._url, socket_connect_timeout=REDIS_S, socket_timeout=REDIS_S
            )
        extra = () if self._now is None else (self._now(),)
        try:
            async with asyncio.timeout(REDIS_S), self._client.pipeline(transaction=False) as pipe:
                for each in claims:
                    numbers = (each.rate, each.burst, each.back, each.want, *extra)
                    pipe.eval(SCRIPT, 1, PREFIX + each.key_id, *numbers)
                found: list[bytes] = await pipe.execute()
        except (OSError, TimeoutError, library.RedisError) as error:
            raise LedgerAwayError(type(error).__name__) from error
        return [float(tokens) for tokens in found]

    async def close(self) -> None:
        """End the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
