"""Children of a killed supervisor are recognised and waited for; nobody else is."""

import os
import subprocess
import sys

import msgspec
import pytest

from interlock.home import Home
from interlock.stack.previous import LeftoverError, leftovers, wait_for_leftovers


def write_state(home: Home, **services: int | None) -> None:
    home.state.write_bytes(msgspec.json.encode({"services": services}))


@pytest.fixture
def home(open_folder) -> Home:
    return Home(open_folder)


@pytest.fixture
def child(home):
    environment = {**os.environ, "INTERLOCK_HOME": str(home.path)}
    words = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(words, env=environment, stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its environment can be read once it runs
        yield process
        process.kill()


def test_process_of_this_home_is_waited_for_and_named(home, child):
    write_state(home, router=child.pid, shipper=None)
    assert leftovers(home) == [child.pid]


async def test_one_that_does_not_end_is_an_error_with_its_number(home, child):
    write_state(home, router=child.pid)
    with pytest.raises(LeftoverError, match=str(child.pid)) as error:
        await wait_for_leftovers(home, longest_s=0)
    assert f"kill -9 {child.pid}" in error.value.hint


async def test_number_that_belongs_to_somebody_else_now_is_left_alone(home):
    write_state(home, router=os.getpid())
    assert leftovers(home) == []
    await wait_for_leftovers(home, longest_s=0)
    assert not home.state.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"services": 3}', b"{"])
def test_damaged_state_file_is_no_obstacle(content, home):
    home.state.write_bytes(content)
    assert leftovers(home) == []
