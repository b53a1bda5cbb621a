"""The command line: every command is there, explains itself and is imported only when called."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from interlock.cli import COMMANDS, cli


@pytest.mark.parametrize("command", list(COMMANDS))
def test_command_explains_itself(command):
    answer = CliRunner().invoke(cli, [command, "--help"])
    assert answer.exit_code == 0, answer.output
    assert answer.output.startswith("Usage: ")


def test_list_of_commands_imports_none_of_them():
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom interlock.cli import cli\n"
        "answer = CliRunner().invoke(cli, ['--help'])\nassert answer.exit_code == 0\n"
        "print([name for name in sys.modules if name.startswith('interlock.commands.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_unknown_command_is_a_usage_error():
    answer = CliRunner().invoke(cli, ["dance"])
    assert answer.exit_code == 2
    assert "dance" in answer.output


@pytest.mark.parametrize("command", ["up", "router", "control-plane", "shipper", "worker"])
def test_wrong_variable_is_named_on_one_screen(command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "interlock", command, "--home", str(tmp_path)],
        env={"INTERLOCK_PORT": "many", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "INTERLOCK_PORT" in done.stderr
    assert "Traceback" not in done.stderr
