"""The control plane as a terminal uses it: found, logged in to, its refusals worded."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import click
import httpx
import msgspec
from msgspec import Struct

from compiler.errors import AppError, Problem
from interlock.home import Home, default_home

DEFAULT_URL = "http://127.0.0.1:8081"
TIMEOUT_S = 30.0


class RemoteError(AppError):
    """The control plane could not be reached, or its answer makes no sense."""

    code = "control_plane.unreachable"


class RefusedError(AppError):
    """The control plane refused; code and hint are its own."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.found = [
            msgspec.convert(item, Problem, strict=False) for item in body.get("errors", [])
        ]
        super().__init__(
            str(body.get("detail", "")) or f"refused with status {status}",
            code=str(body.get("code", "")) or f"status.{status}",
            at=str(body.get("at", "")),
            hint=str(body.get("hint", "")),
        )

    def __str__(self) -> str:
        """The refusal, and every problem it lists."""
        return "\n".join([super().__str__(), *(f"  {problem}" for problem in self.found)])


class Session(Struct):
    """One person logged in at one control plane."""

    token: str
    expires_at: str


class Sessions(Struct):
    """Everybody who is logged in from this account of the machine."""

    current: dict[str, str] = {}
    """E-mail by URL."""
    held: dict[str, Session] = {}
    """Session by ``URL e-mail``."""


class Remote:
    """One control plane, as one person."""

    def __init__(self, url: str, home: Home, person: str | None, *, as_json: bool) -> None:
        self.url = url.rstrip("/")
        self.home = home
        self.as_json = as_json
        self._sessions = load_sessions()
        self.person = person or self._sessions.current.get(self.url, "")
        self._client = httpx.Client(base_url=self.url, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        """Connect at the first call."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    @property
    def token(self) -> str:
        """The token of this person; INTERLOCK_TOKEN goes before the remembered one."""
        given = os.environ.get("INTERLOCK_TOKEN", "")
        held = self._sessions.held.get(f"{self.url} {self.person}")
        return given or (held.token if held else "")

    def remember(self, email: str, answer: dict[str, Any]) -> None:
        """Keep a session, 0600."""
        self._sessions.held[f"{self.url} {email}"] = Session(answer["token"], answer["expires_at"])
        self._sessions.current[self.url] = email
        save_sessions(self._sessions)

    def forget(self) -> None:
        """Drop this person's session."""
        self._sessions.held.pop(f"{self.url} {self.person}", None)
        self._sessions.current.pop(self.url, None)
        save_sessions(self._sessions)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Body of an answer below ``/api``: decoded JSON, or bytes.

        Raises:
            RemoteError: nobody answers there.
            RefusedError: anything but success.
        """
        response = self.send(method, path, body, headers=headers)
        kind = response.headers.get("content-type", "")
        if response.status_code >= 400:
            document = msgspec.json.decode(response.content) if "json" in kind else {}
            raise RefusedError(response.status_code, document)
        if "json" in kind:
            return msgspec.json.decode(response.content) if response.content else None
        return response.content

    def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """The answer itself, whatever its status."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        raw = body is None or isinstance(body, bytes | Iterator)
        content = body if raw else msgspec.json.encode(body)
        try:
            return self._client.request(
                method, "/api" + path, content=content, headers=sent | (headers or {})
            )
        except httpx.HTTPError as error:
            raise RemoteError(
                f"no control plane answers at {self.url}: {error}",
                hint="start one with: interlock up, or name it with --url",
            ) from error

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a paged list."""
        wanted = {name: value for name, value in query.items() if value not in (None, "")}
        while True:
            page = self.call("GET", f"{path}?{urlencode(wanted)}" if wanted else path)
            yield from page["items"]
            if not page.get("next"):
                return
            wanted["cursor"] = page["next"]


def sessions_file() -> Path:
    """Where this account of the machine keeps its sessions."""
    return Path(click.get_app_dir("interlock", force_posix=False)) / "sessions.json"


def load_sessions() -> Sessions:
    """The remembered sessions; none when the file is not there or not ours."""
    try:
        return msgspec.json.decode(sessions_file().read_bytes(), type=Sessions)
    except (OSError, msgspec.MsgspecError):
        return Sessions()


def save_sessions(sessions: Sessions) -> None:
    """Write the sessions so that only their owner can read them."""
    path = sessions_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".sessions.{os.getpid()}.{time.monotonic_ns()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(sessions))
    partial.replace(path)


def find_url(home: Home) -> str:
    """The control plane of the stack on this machine, else the default address."""
    try:
        state = msgspec.json.decode(home.state.read_bytes())
        return str(state["urls"]["control_plane"])
    except (OSError, KeyError, TypeError, msgspec.MsgspecError):
        return DEFAULT_URL


def remote_command(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its ``remote`` and the options that every such command has."""

    @click.option("--url", envvar="INTERLOCK_CONTROL_URL", help="Control plane; default: found.")
    @click.option(
        "--home",
        type=click.Path(path_type=Path),
        envvar="INTERLOCK_HOME",
        help="Home.",
    )
    @click.option("--as", "person", help="E-mail of another person who is logged in here.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
    @functools.wraps(command)
    def run(
        *,
        url: str | None,
        home: Path | None,
        person: str | None,
        as_json: bool,
        **given: Any,
    ) -> Any:
        place = Home(home or default_home())
        with Remote(url or find_url(place), place, person, as_json=as_json) as remote:
            return command(remote=remote, **given)

    return run
