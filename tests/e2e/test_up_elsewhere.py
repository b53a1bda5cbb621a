"""The stack with servers of somebody else, in a deep home, and without Redis."""

import http.client
import os
import subprocess
import sys

import pytest

WITHOUT_REDIS = (
    "import interlock.stack.stack as stack\nstack.redis_binary = lambda: None\n"
    "from interlock.__main__ import main\nmain()\n"
)


def livez(port: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def ports(module_ports) -> dict[str, str]:
    return dict(zip(module_ports[::2], module_ports[1::2], strict=True))


def test_given_servers_are_used_and_none_is_started(
    empty_database_url, redis_url, open_folder, module_ports, ports, start_stack
):
    given = {"DATABASE_URL": empty_database_url, "REDIS_URL": redis_url}
    stack = start_stack(open_folder, module_ports, given)
    assert livez(ports["--port"]) == livez(ports["--control-port"]) == 200
    assert not {"postgres", "redis"} & set(stack.state()["services"])
    assert stack.stop() == 0
    assert not (open_folder / "postgres").exists()
    assert "postgres:" not in stack.said


def test_home_too_deep_for_a_socket_works(open_folder, module_ports, start_stack):
    deep = open_folder / ("a" * 60) / ("b" * 60)
    stack = start_stack(deep, module_ports)
    assert stack.stop() == 0
    assert not (deep / "stack.json").exists()


def test_without_redis_the_start_says_what_changes(open_folder, module_ports):
    words = [sys.executable, "-c", WITHOUT_REDIS, "up", "--home", str(open_folder), *module_ports]
    clean = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    with subprocess.Popen(words, env=clean, stdout=subprocess.PIPE, text=True) as stack:
        assert stack.stdout is not None
        said = ""
        while "serving" not in said:
            line = stack.stdout.readline()
            assert line, said
            said += line
        stack.terminate()
        said += stack.stdout.read()
    assert stack.returncode == 0
    assert "no Redis found" in said
    assert "pip install 'interlock[embedded]'" in said
