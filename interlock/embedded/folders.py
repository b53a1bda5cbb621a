"""The folders of the embedded servers below the home."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from interlock.child.identity import Identity, closed_ancestor, give
from interlock.embedded.errors import HomeError

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket on Linux (108 with its end)."""
SHORT = Path("/tmp")  # noqa: S108 - owner and kind of the folder below it are checked
"""The same for every process, whatever its TMPDIR."""
LONGEST_SOCKET_NAME = ".s.PGSQL.5432.lock"


def prepare_home(home: Path, identity: Identity | None) -> None:
    """Create the home and prove that we, and the servers' user, can work in it.

    As root only the home itself becomes passable (0711); no folder above it is ever changed.

    Raises:
        HomeError: it cannot be written, or the servers' user cannot get to it.
    """
    _refuse_closed(home.parent, identity)
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700 if identity is None else 0o711)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise HomeError(
            f"cannot write to the home {home}: {(error.strerror or str(error)).lower()}",
            at=str(home),
            hint="choose another one with --home or INTERLOCK_HOME, or make it yours with chown",
        ) from None
    _refuse_closed(home, identity)  # folders above it that were made now obey the umask


def _refuse_closed(path: Path, identity: Identity | None) -> None:
    closed = closed_ancestor(path, identity) if identity else None
    if closed is not None and identity is not None:
        raise HomeError(
            f"the embedded servers run as uid {identity.uid} and cannot enter {closed}",
            at=str(closed),
            hint=f"run as that folder's owner without root, or choose a home outside {closed}, "
            "such as --home /var/lib/interlock",
        )


def server_folder(path: Path, identity: Identity | None, mode: int = 0o700) -> Path:
    """A folder that belongs to the servers' user."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    give(path, identity)
    return path


def socket_folder(home: Path, identity: Identity | None) -> Path:
    """Where the sockets are: ``home/run``, or a short hashed folder when that path is too long.

    Raises:
        HomeError: the short folder exists and belongs to somebody else.
    """
    usual = home.resolve() / "run"
    if len(os.fsencode(usual / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES:
        return server_folder(usual, identity, 0o711)
    name = hashlib.sha256(os.fsencode(usual)).hexdigest()[:12]
    short = SHORT / f"interlock-{name}"
    owner = identity.uid if identity else os.geteuid()
    try:
        short.mkdir(mode=0o711)
    except FileExistsError:
        found = short.lstat()
        if short.is_symlink() or not short.is_dir() or found.st_uid not in (owner, os.geteuid()):
            raise HomeError(
                f"the folder {short} for sockets belongs to somebody else",
                at=str(short),
                hint="remove it, or choose a home with a shorter path",
            ) from None
    return server_folder(short, identity, 0o711)
