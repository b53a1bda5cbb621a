"""The main promise: one command plays the whole story, and a second start keeps the data."""

import http.client
import re
import shlex
import subprocess
import sys
from urllib.parse import urlsplit

import msgspec
import pytest


@pytest.fixture(scope="module")
def first_run(module_home, module_ports) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "interlock", "up", "--demo", "--exit"]
    words += ["--home", str(module_home), *module_ports]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)


def test_whole_story_holds(first_run):
    assert first_run.returncode == 0, first_run.stdout[-4000:] + first_run.stderr
    assert "Every step held" in first_run.stdout
    assert "Traceback" not in first_run.stdout + first_run.stderr


@pytest.mark.parametrize(
    "promise",
    [
        "the data scientist cannot approve his own model",
        "activating it alone is refused",
        "approving one's own edit is refused",
        "every request was answered by the model of its rule",
        "401 key.unknown",
        "422 features.unknown",
        "field by field the same",
        "the strongest reasons are told in words",
        "nothing acknowledged is missing",
    ],
)
def test_story_shows(promise, first_run):
    assert promise in first_run.stdout


def test_nothing_is_left_running(first_run, module_home, processes_of):
    assert processes_of(module_home) == []
    assert not (module_home / "stack.json").exists()


def test_no_secret_is_in_the_log(first_run, module_home):
    log = (module_home / "logs" / "interlock.log").read_text()
    key = re.search(r"Bearer (ilk_\S+?)'", first_run.stdout)
    assert key is not None
    assert key[1] not in log
    assert (module_home / "secrets" / "bootstrap.token").read_text().strip() not in log


def post(url: str, headers: dict[str, str], body: str) -> tuple[int, dict]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("POST", parts.path, body, headers)
        answer = connection.getresponse()
        return answer.status, msgspec.json.decode(answer.read())
    finally:
        connection.close()


def test_second_start_serves_the_line_that_the_first_one_printed(
    first_run, module_home, module_ports, start_stack
):
    line = next(line for line in first_run.stdout.splitlines() if line.startswith("curl "))
    words = shlex.split(line)
    headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1]
    stack = start_stack(module_home, module_ports)
    status, answer = post(words[2], headers, body)
    assert status == 200, answer
    assert (answer["endpoint"], answer["rule"]) == ("credit", "small_and_safe")
    assert stack.stop() == 0
