"""What stands in the way of a start is said on one screen, and nothing is left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.embedded.postgres import EmbeddedPostgres
from interlock.home import Home

LONGEST_SCREEN = 24
MAIN = "from interlock.__main__ import main; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, without an environment that names servers."""
    clean = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, *words],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def up_words(home: Path, *options: str) -> list[str]:
    """Arguments of ``interlock`` for a start on free ports."""
    given = {"--port": str(free_port()), "--control-port": str(free_port())}
    given.update(zip(options[::2], options[1::2], strict=True))
    return ["up", "--home", str(home), *(word for pair in given.items() for word in pair)]


def up(home: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``interlock up`` to its end."""
    return run("-m", "interlock", *up_words(home, *options), **environment)


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


def test_data_without_its_secrets_is_refused(open_folder):
    EmbeddedPostgres(open_folder, password="lost", settings={"fsync": "off"}).prepare()
    assert_refused(up(open_folder), "secrets/db.json", str(open_folder / "postgres"))
    assert not (open_folder / "postgres" / "postmaster.pid").exists()


def test_missing_wheel_is_named_with_what_installs_it(open_folder):
    without = "import interlock.embedded.binaries as b; b.wheel_folder = lambda _: None; "
    done = run("-c", without + MAIN, *up_words(open_folder))
    assert_refused(done, "pip install 'interlock[embedded]'", "DATABASE_URL")


def test_stop_during_the_start_leaves_nothing(open_folder, processes_of):
    words = [sys.executable, "-m", "interlock", *up_words(open_folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as stack:
        assert stack.stdout is not None
        while "waiting for" not in (line := stack.stdout.readline()):
            assert line
        stack.terminate()
        stack.stdout.read()
    assert stack.returncode == 130
    assert processes_of(open_folder) == []
    assert not (open_folder / "stack.json").exists()


@pytest.mark.parametrize("role", ["control-plane", "worker", "shipper", "explainer", "migrate"])
def test_process_without_a_database_says_what_it_needs(role, open_folder):
    done = run("-m", "interlock", role, "--home", str(open_folder))
    assert_refused(done, "DATABASE_URL", str(open_folder))


def test_exit_without_demo_is_a_usage_error(open_folder):
    done = run("-m", "interlock", "up", "--exit", "--home", str(open_folder))
    assert done.returncode == 2
    assert "--demo" in done.stderr
