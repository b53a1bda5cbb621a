"""Talks to the stack as anybody would: JSON over HTTP, one kept connection per client."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from compiler.errors import AppError

TIMEOUT_S = 30.0
REUSE_S = 2.0
"""An idle connection older than this is opened anew: servers close theirs after five seconds."""


class StoryStoppedError(AppError):
    """The story was interrupted."""

    code = "story.stopped"


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    body: Any
    """Decoded JSON, or text."""
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The problem's code; empty for answers that are none."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


class Client:
    """One caller of one server.

    Args:
        base_url: such as ``http://127.0.0.1:8081``.
        token: for the ``Authorization`` header.
        stopped: set when the story shall end.
    """

    def __init__(
        self, base_url: str, *, token: str = "", stopped: threading.Event | None = None
    ) -> None:
        self.base_url = base_url
        self.token = token
        self._stopped = stopped or threading.Event()
        parts = urlsplit(base_url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, TIMEOUT_S)
        self._used = 0.0

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and read its answer, whatever its status.

        Args:
            method: HTTP method.
            path: with its query.
            body: bytes are sent as they are, anything else as JSON.
            headers: go before the usual ones.

        Raises:
            OSError: no answer: the request may or may not have been handled.
            StoryStoppedError: the story shall end.
        """
        if self._stopped.is_set():
            raise StoryStoppedError
        sent = {"Accept": "application/json"}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        if body is not None and not isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
            body = msgspec.json.encode(body)
        sent.update(headers or {})
        if time.monotonic() - self._used > REUSE_S:
            self._connection.close()
        try:
            self._connection.request(method, path, body, sent)
            response = self._connection.getresponse()
            raw = response.read()
            self._used = time.monotonic()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ConnectionError(f"{method} {path}: {error or type(error).__name__}") from error
        return Answer(
            response.status, _decode(raw), {k.lower(): v for k, v in response.getheaders()}
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        return raw.decode(errors="replace")
