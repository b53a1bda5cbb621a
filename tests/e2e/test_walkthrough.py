"""The walk-through of the control plane, typed into real shells against a real stack.

Each person has a shell of his own with a home of his own. A line of the document that stands under
a command must be in what the command printed, in that order; ``...`` stands for anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

import control_plane
from tests.e2e.conftest import CLEAN

DOCUMENT = Path(control_plane.__file__).parent / "WALKTHROUGH.md"
PEOPLE = ("ada", "max", "cora", "dana")
PASSWORD = "a long sentence nobody guesses"
END = "--- end of a command:"


class Step(Struct):
    """A line that somebody types, and what he then reads."""

    who: str
    command: str
    line: int
    expected: list[str] = []


def steps(text: str) -> list[Step]:
    """Every command of the document, in order."""
    found: list[Step] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
            continue
        if not inside:
            continue
        typed = re.match(r"(\w+)\$ (.*)", line)
        if typed:
            found.append(Step(typed[1], typed[2], number))
        elif line.startswith("> "):
            found[-1].command += "\n" + line[2:]
        else:
            found[-1].expected.append(line)
    return found


class Shell:
    """One person's shell, which keeps its variables from one command to the next."""

    def __init__(self, folder: Path, given: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=given, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def type_in(self, command: str) -> tuple[int, str]:
        """Status and output of a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\nended=$?; echo; echo {END} $ended\n")
        self.process.stdin.flush()
        said = []
        while True:
            line = self.process.stdout.readline()
            assert line, f"the shell ended at: {command}\n{''.join(said)}"
            if line.startswith(END):
                return int(line.removeprefix(END)), "".join(said)
            said.append(line)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def lacks(expected: list[str], said: str) -> str | None:
    """The first line that is not in what was said, in order; None when all are."""
    lines = iter(" ".join(line.split()) for line in said.splitlines())
    for wanted in expected:
        words = re.escape(" ".join(wanted.split())).replace(r"\.\.\.", ".*")
        if not any(re.fullmatch(words, line) for line in lines):
            return wanted
    return None


@pytest.fixture(scope="module")
def shells(
    module_home: Path,
    module_ports: list[str],
    start_stack: Callable[..., Any],
    tmp_path_factory: Any,
) -> Iterator[dict[str, Shell]]:
    """Four shells beside a fresh stack."""
    stack = start_stack(module_home, [*module_ports, "--workers", "1"])
    urls = stack.state()["urls"]
    shared = tmp_path_factory.mktemp("shared")
    tools = tmp_path_factory.mktemp("bin")
    for name, words in (("interlock", "-m interlock"), ("python", "")):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        tool.chmod(0o755)
    made = {}
    for who in PEOPLE:
        home = tmp_path_factory.mktemp(who)
        given = CLEAN | {
            "HOME": str(home),
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "INTERLOCK_CONTROL_URL": urls["control_plane"],
            "ROUTER": urls["router"],
            "INTERLOCK_PASSWORD": PASSWORD,
            "COLUMNS": "400",
        }
        if who == "ada":
            given |= {"INTERLOCK_HOME": str(module_home), "FIRST_PASSWORD": PASSWORD}
        made[who] = Shell(shared, given)
    yield made
    for shell in made.values():
        shell.close()
    stack.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_line_of_the_walk_through_does_what_it_says(shells: dict[str, Shell]) -> None:
    typed = steps(DOCUMENT.read_text("utf-8"))
    assert {step.who for step in typed} == set(PEOPLE)
    refused, wrong = 0, []
    for step in typed:
        status, said = shells[step.who].type_in(step.command)
        missing = lacks(step.expected, said)
        is_refusal = any(line.startswith("error:") for line in step.expected)
        finds = any(line.startswith("error ") for line in step.expected)  # a check's table
        if missing is not None or (status != 0) != (is_refusal or finds) or "Traceback" in said:
            where = f"{DOCUMENT.name}:{step.line}: {step.who}$ {step.command}"
            wrong.append(f"{where}\nstatus {status}, no line {missing!r} in\n{said}")
        refused += is_refusal or any('"code"' in line for line in step.expected)
    assert wrong == [], "\n".join(wrong)
    assert len(typed) > 80
    assert refused >= 15


def test_lines_are_looked_for_in_order() -> None:
    said = "name   credit\n\nstate  proposed\n"
    assert lacks(["name credit", "state ..."], said) is None
    assert lacks(["state proposed", "name credit"], said) == "name credit"
    assert lacks(["credit"], said) == "credit"
