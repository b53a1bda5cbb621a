"""Which user a child runs as, and whether that user can reach a folder."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from msgspec import Struct

CANDIDATES = ("interlock", "nobody")
"""Unprivileged users, the first that exists is taken; PostgreSQL refuses to run as root."""


class Identity(Struct, frozen=True):
    """A user and a group by number."""

    uid: int
    gid: int


def unprivileged() -> Identity | None:
    """Who runs the embedded servers: None (we ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Identity(entry.pw_uid, entry.pw_gid)
    return Identity(65534, 65534)


def closed_ancestor(path: Path, identity: Identity) -> Path | None:
    """The first folder from the root down to ``path`` that the user may not enter, or None.

    Reads the mode bits; access lists are not considered.
    """
    resolved = path.resolve()
    for folder in (*reversed(resolved.parents), resolved):
        try:
            found = folder.stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(found.st_mode):
            continue
        if found.st_uid == identity.uid:
            bit = stat.S_IXUSR
        elif found.st_gid == identity.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not found.st_mode & bit:
            return folder
    return None


def give(path: Path, identity: Identity | None) -> None:
    """Make ``path`` belong to the user who runs the embedded servers."""
    if identity is not None:
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
