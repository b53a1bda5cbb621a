"""The main promise: one command plays the whole story, and a second start keeps the data."""

import http.client
import re
import shlex
import shutil
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


def test_package_with_one_changed_byte_is_refused_by_name(first_run, module_home, tmp_path):
    package = next((module_home / "artifacts" / "packages").glob("*/manifest.json")).parent
    damaged = tmp_path / package.name
    shutil.copytree(package, damaged)
    raw = bytearray((damaged / "model.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (damaged / "model.onnx").write_bytes(raw)
    words = [sys.executable, "-m", "interlock", "models", "verify", "--home", str(module_home)]
    for folder, status in ((package, 0), (damaged, 1)):
        done = subprocess.run(
            [*words, str(folder)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert "model.onnx" in done.stderr
    assert "hint:" in done.stderr


def test_rule_about_an_unknown_feature_is_refused_by_name(tmp_path):
    (tmp_path / "table.txt").write_text("IF shoe_size > 43 THEN large\nELSE small\n")
    (tmp_path / "schema.json").write_text('{"amount": {"type": "float"}}')
    words = [sys.executable, "-m", "interlock", "rules", "check", "table.txt"]
    done = subprocess.run(
        [*words, "--schema", "schema.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "shoe_size" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


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
