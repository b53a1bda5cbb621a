"""Keys, passwords and the first roster of a home: created once, never replaced."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from compiler.identity import Role, Roster, roster_key, sign_roster
from compiler.signing import KeyPair, b64
from compiler.statements import format_time
from interlock.home import Home

MACHINE_ROLES: tuple[Role, ...] = ("builder", "releaser", "ledger")
"""Keys that processes hold; people's keys are enrolled later."""
ROSTER_LIFE = timedelta(days=730)
PROCESS_ROLES = ("control", "router", "shipper", "explainer", "worker", "auditor")
"""Group roles ``interlock_ROLE`` of the migrations; each gets one login."""


class DatabaseSecrets(Struct, frozen=True):
    """Passwords of the embedded servers."""

    postgres: str
    redis: str
    roles: dict[str, str]
    """Password of the login ``stack_ROLE`` by role."""


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only we can read; complete or absent."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def ensure_secrets(home: Home) -> DatabaseSecrets:
    """Everything below ``secrets/`` that is not there yet; the passwords."""
    folder = home.secrets
    root = _key(folder / "root.key")
    machines = {role: _key(folder / f"{role}.key") for role in MACHINE_ROLES}
    _once(folder / "root.pub", lambda: b64(root.public).encode() + b"\n")
    for name in ("subject.key", "master.key"):
        _once(folder / name, lambda: base64.b64encode(secrets.token_bytes(32)) + b"\n")
    _once(folder / "bootstrap.token", lambda: secrets.token_urlsafe(24).encode() + b"\n")
    _once(folder / "roster.json", lambda: _first_roster(root, machines))
    path = folder / "db.json"
    _once(path, lambda: msgspec.json.encode(_passwords()))
    return read_database_secrets(home)


def read_database_secrets(home: Home) -> DatabaseSecrets:
    """Passwords of the embedded servers of a home.

    Raises:
        FileNotFoundError: no stack was started there.
    """
    return msgspec.json.decode((home.secrets / "db.json").read_bytes(), type=DatabaseSecrets)


def _key(path: Path) -> KeyPair:
    if not path.exists():
        KeyPair.generate().save(path)
    return KeyPair.load(path)


def _once(path: Path, make: Callable[[], bytes]) -> None:
    if not path.exists():
        write_private(path, make())


def _first_roster(root: KeyPair, machines: dict[Role, KeyPair]) -> bytes:
    keys = tuple(roster_key(pair.public, role, role) for role, pair in machines.items())
    expires = format_time(datetime.now(UTC) + ROSTER_LIFE)
    return sign_roster(Roster(version=1, expires=expires, keys=keys), root)


def _passwords() -> DatabaseSecrets:
    roles = {role: secrets.token_urlsafe(24) for role in PROCESS_ROLES}
    return DatabaseSecrets(secrets.token_urlsafe(24), secrets.token_urlsafe(24), roles)
