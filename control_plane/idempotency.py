"""``Idempotency-Key`` on creates: the same request again gets the first answer.

The answer is kept for a day, sealed with a key made from the caller's token and the
``Idempotency-Key``: a routing key or token that was shown once stays a secret, also from whoever
reads the database.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from msgspec import Struct

from control_plane.deps import authenticate
from control_plane.errors import ConflictError, InvalidError

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

MAX_KEY = 200
MAX_ANSWER_BYTES = 1 << 20

_CLAIM = """
INSERT INTO remembered_answers (actor, key, body_hash) VALUES ($1, $2, $3)
ON CONFLICT (actor, key) DO UPDATE SET body_hash = excluded.body_hash, status = NULL,
  answer = NULL, created_at = clock_timestamp()
WHERE remembered_answers.created_at < clock_timestamp() - CASE
  WHEN remembered_answers.status IS NULL THEN interval '1 minute' ELSE interval '24 hours' END
RETURNING key
"""
_FIND = "SELECT body_hash, status, answer FROM remembered_answers WHERE actor = $1 AND key = $2"
_KEEP = "UPDATE remembered_answers SET status = $3, answer = $4 WHERE actor = $1 AND key = $2"
_DROP = "DELETE FROM remembered_answers WHERE actor = $1 AND key = $2"


def remembers(handler: Any) -> bool:
    """Whether a handler's answers are kept for a key.

    Not those of whoever is not signed in. Nor those to streamed bodies, which are never held in
    memory: what they bring is known by its digest, so that a repetition changes nothing anyway.
    """
    return not (handler.opt.get("open") or handler.opt.get("streams"))


class Answer(Struct):
    """An answer as it is sealed."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class IdempotencyMiddleware(ASGIMiddleware):
    """Answers a repeated POST from memory; requests without the header pay nothing."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Claim the key, let the handler work, keep its answer if it succeeded.

        Raises:
            NotSignedInError: no valid token.
            ConflictError: ``idempotency.mismatch``, ``idempotency.in_progress``,
                ``idempotency.session``.
        """
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        if request.method != "POST":
            await next_app(scope, receive, send)
            return
        key = request.headers.get("idempotency-key", "")
        if not key or not remembers(scope["route_handler"]):
            await next_app(scope, receive, send)
            return
        await self._once(request, key, next_app)

    async def _once(self, request: Request[Any, Any, Any], key: str, next_app: ASGIApp) -> None:
        if len(key) > MAX_KEY or not key.isprintable():
            raise InvalidError(
                f"expected a key of at most {MAX_KEY} printable characters",
                code="idempotency.key",
                at="Idempotency-Key",
            )
        user = await authenticate(request)
        body = await request.body()
        pool = request.app.state.pool
        name = f"{request.url.path} {key}"
        box = AESGCM(_seal_key(request.headers["authorization"], name))
        digest = hashlib.sha256(body).digest()
        async with pool.transaction() as connection:
            claimed = await connection.fetchval(_CLAIM, user.email, name, digest)
            row = None if claimed else await connection.fetchrow(_FIND, user.email, name)
        if row is not None:
            await _replay(row, digest, box, request.send)
            return
        sent = _Sent(request.send)
        try:
            await next_app(request.scope, _again(body), sent)
        finally:
            async with pool.transaction() as connection:
                if 200 <= sent.status < 300 and len(sent.body) <= MAX_ANSWER_BYTES:
                    plain = msgspec.msgpack.encode(Answer(sent.headers, bytes(sent.body)))
                    nonce = secrets.token_bytes(12)
                    sealed = nonce + box.encrypt(nonce, plain, None)
                    await connection.execute(_KEEP, user.email, name, sent.status, sealed)
                else:
                    await connection.execute(_DROP, user.email, name)


async def _replay(row: Any, digest: bytes, box: AESGCM, send: Send) -> None:
    """Send a kept answer again."""
    if bytes(row["body_hash"]) != digest:
        raise ConflictError(
            "this Idempotency-Key was used with another body",
            code="idempotency.mismatch",
            hint="use a new key for a new request",
        )
    if row["status"] is None:
        raise ConflictError(
            "the first request with this Idempotency-Key is still being handled",
            code="idempotency.in_progress",
            hint="ask again in a moment",
        )
    sealed = bytes(row["answer"])
    try:
        plain = box.decrypt(sealed[:12], sealed[12:], None)
    except InvalidTag:
        raise ConflictError(
            "this was done before, by another session; its answer is repeated only to that one",
            code="idempotency.session",
        ) from None
    answer = msgspec.msgpack.decode(plain, type=Answer)
    headers = [*answer.headers, (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": row["status"], "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


class _Sent:
    """Passes an answer on and keeps a copy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()

    async def __call__(self, message: Message) -> None:
        """One ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body" and len(self.body) <= MAX_ANSWER_BYTES:
            self.body += message.get("body", b"")
        await self._send(message)


def _again(body: bytes) -> Receive:
    """A receive channel that gives a body that was read already."""

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _seal_key(authorization: str, name: str) -> bytes:
    return hashlib.sha256(f"interlock answer\0{authorization}\0{name}".encode()).digest()
