"""The same request twice is decided once: the second gets the first one's answer.

Scope is key, endpoint and the caller's word. The first request leaves a pending marker; whoever
comes while it is pending waits for its answer until the deadline. Answers are kept for a day,
encrypted. Redis shares them between nodes; when it does not answer within 20 ms, files in the home
share them between the workers of this node, and the answer says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from router.errors import ConflictError
from router.problem import Reply

WINDOW_S = 24 * 3600
PENDING_S = 60
"""A marker whose request died with its worker is forgotten after this."""
REDIS_S = 0.02
POLL_S = 0.01
NONCE_BYTES = 12
MAX_WORD_BYTES = 255
PREFIX = "interlock:idempotency:"
FINAL = frozenset({200, 400, 404, 409, 413, 422})
"""Answers that would be the same again; others are not kept, so that a repeat can succeed."""


class Entry(Struct, array_like=True):
    """What is kept under one scope: a fingerprint, and the answer once there is one."""

    fingerprint: bytes
    answer: bytes | None = None


class Kept(Struct, array_like=True):
    """An answer as it is kept."""

    status: int
    body: bytes
    content_type: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Store(Protocol):
    """Where entries are shared."""

    async def claim(self, name: str, entry: bytes) -> bytes | None:
        """Put a pending entry unless there is one; the one that is there, else None."""
        ...

    async def settle(self, name: str, entry: bytes | None) -> None:
        """Replace the pending entry, or take it away."""
        ...

    async def read(self, name: str) -> bytes | None:
        """The entry, None when there is none."""
        ...


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode
_decode_kept = msgspec.msgpack.Decoder(Kept).decode


class Claim:
    """The right to decide a request, until :meth:`Idempotency.finish`."""

    def __init__(self, store: Store, name: str, fingerprint: bytes, scope: str) -> None:
        self.store = store
        self.name = name
        self.fingerprint = fingerprint
        self.scope = scope


class Idempotency:
    """Answers of requests that carried an ``Idempotency-Key``.

    Args:
        secret: 32 bytes that encrypt what is kept.
        local: shared between the workers of this node.
        shared: shared between nodes, None without Redis.
    """

    def __init__(self, secret: bytes, local: Store, shared: Store | None) -> None:
        self._cipher = AESGCM(secret)
        self._local = local
        self._shared = shared

    async def begin(
        self, scope: tuple[str, str, str], path: str, body: bytes, wait_s: float
    ) -> Claim | Reply:
        """The right to decide, or the answer that was given.

        Raises:
            ConflictError: another body under the same word, or no answer yet at the deadline.
        """
        name = hashlib.sha256("\0".join(scope).encode()).hexdigest()
        fingerprint = hashlib.sha256(path.encode() + b"\0" + body).digest()
        deadline = time.monotonic() + wait_s
        pending = _encode(Entry(fingerprint))
        store, found = await self._claim(name, pending)
        scoped = "" if store is self._shared or self._shared is None else "node"
        while found is not None:
            entry = _decode(found)
            if entry.fingerprint != fingerprint:
                raise ConflictError(
                    "the Idempotency-Key was used with another body",
                    hint="use a new key for a new request",
                )
            if entry.answer is not None:
                return self._open(name, entry.answer, scoped)
            if time.monotonic() >= deadline:
                raise ConflictError(
                    "the first request with this Idempotency-Key has no answer yet",
                    code="idempotency.in_progress",
                    hint="ask again with the same key",
                )
            await asyncio.sleep(POLL_S)
            found = await store.read(name)
            if found is None:  # the first one ended without an answer: it is our turn
                found = await store.claim(name, pending)
        return Claim(store, name, fingerprint, scoped)

    async def _claim(self, name: str, pending: bytes) -> tuple[Store, bytes | None]:
        if self._shared is not None:
            try:
                async with asyncio.timeout(REDIS_S):
                    return self._shared, await self._shared.claim(name, pending)
            except Exception:  # noqa: S110 - whatever ails Redis, the node's own store answers
                pass
        return self._local, await self._local.claim(name, pending)

    async def finish(self, claim: Claim, reply: Reply | None) -> Reply | None:
        """Keep an answer for the repeats, or let the next one decide when there is none to keep."""
        entry = None
        if reply is not None and reply.status in FINAL:
            kept = Kept(reply.status, reply.body, reply.content_type, reply.headers)
            nonce = os.urandom(NONCE_BYTES)
            sealed = nonce + self._cipher.encrypt(nonce, _encode(kept), claim.name.encode())
            entry = _encode(Entry(claim.fingerprint, sealed))
        try:
            async with asyncio.timeout(REDIS_S * 5):
                await claim.store.settle(claim.name, entry)
        except Exception:  # noqa: S110 - the marker expires; the answer is given anyway
            pass
        return reply if reply is None else _scoped(reply, claim.scope)

    def _open(self, name: str, sealed: bytes, scope: str) -> Reply:
        try:
            raw = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name.encode())
        except InvalidTag:
            raise ConflictError(
                "the kept answer was written by a node with another key",
                code="idempotency.unreadable",
            ) from None
        kept = _decode_kept(raw)
        reply = Reply(kept.status, kept.body, kept.content_type, kept.headers)
        repeated = msgspec.structs.replace(
            reply, headers=(*reply.headers, (b"idempotency-replayed", b"true"))
        )
        return _scoped(repeated, scope)


def _scoped(reply: Reply, scope: str) -> Reply:
    if not scope:
        return reply
    header = (b"idempotency-scope", scope.encode())
    return msgspec.structs.replace(reply, headers=(*reply.headers, header))


class FolderStore:
    """Entries as files, shared between the workers of a node."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    async def claim(self, name: str, entry: bytes) -> bytes | None:
        """Put a pending entry unless there is one."""
        path = self.folder / name
        for _ in range(2):
            draft = self.folder / f".{name}.{os.getpid()}.{time.monotonic_ns()}"
            draft.write_bytes(entry)
            try:
                os.link(draft, path)
            except FileExistsError:
                found = await self.read(name)
                if found is not None:
                    return found
            else:
                return None
            finally:
                draft.unlink()
        return await self.read(name)

    async def settle(self, name: str, entry: bytes | None) -> None:
        """Replace the pending entry, or take it away."""
        path = self.folder / name
        if entry is None:
            path.unlink(missing_ok=True)
            return
        draft = self.folder / f".{name}.{os.getpid()}.{time.monotonic_ns()}"
        draft.write_bytes(entry)
        draft.replace(path)

    async def read(self, name: str) -> bytes | None:
        """The entry; one that is over its time is taken away."""
        path = self.folder / name
        try:
            raw = path.read_bytes()
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return None
        if age > (PENDING_S if _decode(raw).answer is None else WINDOW_S):
            path.unlink(missing_ok=True)
            return None
        return raw

    def sweep(self) -> int:
        """Take away what is over its time; how many files that were."""
        gone = 0
        for entry in os.scandir(self.folder):
            if time.time() - entry.stat().st_mtime > WINDOW_S:
                Path(entry.path).unlink(missing_ok=True)
                gone += 1
        return gone


class LazyRedisStore:
    """Entries in Redis, shared between nodes; the library is imported at the first use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._opening: asyncio.Task[Any] | None = None

    async def _redis(self) -> Any:
        if self._client is None:
            if self._opening is None:
                self._opening = asyncio.create_task(asyncio.to_thread(self._open))
            self._client = await asyncio.shield(self._opening)
        return self._client

    def _open(self) -> Any:
        import redis.asyncio

        return redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=1.0)

    async def claim(self, name: str, entry: bytes) -> bytes | None:
        """Put a pending entry unless there is one."""
        client = await self._redis()
        if await client.set(PREFIX + name, entry, nx=True, ex=PENDING_S):
            return None
        found: bytes | None = await client.get(PREFIX + name)
        return found

    async def settle(self, name: str, entry: bytes | None) -> None:
        """Replace the pending entry, or take it away."""
        client = await self._redis()
        if entry is None:
            await client.delete(PREFIX + name)
        else:
            await client.set(PREFIX + name, entry, ex=WINDOW_S)

    async def read(self, name: str) -> bytes | None:
        """The entry, None when there is none."""
        client = await self._redis()
        found: bytes | None = await client.get(PREFIX + name)
        return found
