"""What stands in the way of a start is said on one screen, and nothing is left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.home import Home

LONGEST_SCREEN = 24


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def up(home: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``interlock up`` to its end on free ports."""
    given = {"--port": str(free_port()), "--control-port": str(free_port())}
    given.update(zip(options[::2], options[1::2], strict=True))
    words = [word for pair in given.items() for word in pair]
    clean = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "interlock", "up", "--home", str(home), *words],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *named: str) -> None:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len((done.stdout + done.stderr).splitlines()) <= LONGEST_SCREEN
    for word in named:
        assert word in done.stderr


def test_port_in_use_is_named_before_anything_is_created(open_folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = up(open_folder / "home", "--port", str(port))
    assert_refused(done, f"port {port} on 127.0.0.1 is in use", "--port")
    assert not (open_folder / "home").exists()


def test_same_port_twice_is_refused(open_folder):
    port = str(free_port())
    done = up(open_folder / "home", "--port", port, "--control-port", port)
    assert_refused(done, port, "--control-port")


def test_locked_home_names_the_process_that_holds_it(open_folder):
    with Home(open_folder).locked():
        done = up(open_folder)
    assert_refused(done, str(open_folder), str(os.getpid()), "--home")
    assert not (open_folder / "postgres").exists()


def test_home_that_cannot_be_written_is_named(open_folder):
    (open_folder / "file").write_text("")
    done = up(open_folder / "file" / "home")
    assert_refused(done, str(open_folder / "file" / "home"), "--home")


@pytest.mark.parametrize(
    "url", ["postgresql://me:hidden@127.0.0.1:{port}/x", "postgresql://me:hidden@no.invalid/x"]
)
def test_unreachable_database_is_named_without_its_password(url, open_folder):
    url = url.format(port=free_port())
    done = up(open_folder, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0")
    assert_refused(done, url.replace(":hidden", ""), "DATABASE_URL")
    assert "hidden" not in done.stdout + done.stderr
    assert not (open_folder / "stack.json").exists()


def test_data_of_another_version_is_refused(open_folder):
    (open_folder / "postgres").mkdir()
    (open_folder / "postgres" / "PG_VERSION").write_text("15\n")
    assert_refused(up(open_folder), "PostgreSQL 15", str(open_folder / "postgres"))


@pytest.mark.parametrize("role", ["control-plane", "worker", "shipper", "explainer", "migrate"])
def test_process_without_a_database_says_what_it_needs(role, open_folder):
    clean = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    done = subprocess.run(
        [sys.executable, "-m", "interlock", role, "--home", str(open_folder)],
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_refused(done, "DATABASE_URL", str(open_folder))


def test_exit_without_demo_is_a_usage_error(open_folder):
    words = [sys.executable, "-m", "interlock", "up", "--exit", "--home", str(open_folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--demo" in done.stderr
