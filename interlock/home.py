"""The home: one folder that holds everything a stack on one machine keeps.

lock          held by the ``up`` that runs here
run/          sockets
postgres/     data of the embedded PostgreSQL
redis/        data of the embedded Redis
artifacts/    model packages and datasets, by digest
spool/NODE/   audit segments that are not shipped yet
cache/router/ last good releases and packages of the routers
secrets/      keys and passwords, 0700
logs/         interlock.log
stack.json    ports, process ids and URLs of the running stack
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from compiler.errors import AppError
from interlock.child.identity import closed_ancestor, unprivileged

SYSTEM_HOME = Path("/var/lib/interlock")


class HomeLockedError(AppError):
    """Another stack runs on this home."""

    code = "home.locked"


def default_home() -> Path:
    """``~/.interlock``.

    The embedded servers never run as root, so for a root whose own folder is closed to others
    (the usual ``/root``) it is ``/var/lib/interlock``.
    """
    usual = Path("~/.interlock").expanduser()
    identity = unprivileged()
    if identity is not None and closed_ancestor(usual.parent, identity) is not None:
        return SYSTEM_HOME
    return usual


class Home(Struct, frozen=True):
    """Paths below one home."""

    path: Path

    @property
    def secrets(self) -> Path:
        """Keys and passwords."""
        return self.path / "secrets"

    @property
    def people(self) -> Path:
        """Signing keys of people who work on this machine."""
        return self.secrets / "people"

    @property
    def artifacts(self) -> Path:
        """The local artifact store."""
        return self.path / "artifacts"

    @property
    def spool(self) -> Path:
        """Audit segments."""
        return self.path / "spool"

    @property
    def log(self) -> Path:
        """The one log of all processes."""
        return self.path / "logs" / "interlock.log"

    @property
    def state(self) -> Path:
        """What runs where."""
        return self.path / "stack.json"

    def person_key(self, email: str) -> Path:
        """Private key of one person."""
        return self.people / f"{email}.key"

    def create(self) -> None:
        """Make the folders that the stack itself writes to; secrets are closed to everyone else."""
        for folder in (self.secrets, self.people):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        for folder in (self.artifacts, self.spool, self.log.parent, self.path / "cache"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def check_unlocked(self) -> None:
        """Prove that nobody holds the home, without creating it.

        Raises:
            HomeLockedError: another process holds it.
        """
        if (self.path / "lock").exists():
            with self.locked():
                pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home; the kernel releases it however we end.

        Raises:
            HomeLockedError: another process holds it.
        """
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
                raise HomeLockedError(
                    f"the home {self.path} is in use by another interlock up (process {holder})",
                    at=str(self.path),
                    hint=f"stop it with: kill {holder}, or choose another home with --home",
                ) from None
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(handle)
