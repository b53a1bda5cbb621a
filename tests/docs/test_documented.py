"""What users can set and call is in the README, and what the pages show exists."""

import re
from pathlib import Path

import click
import pytest

from interlock.cli import COMMANDS, cli
from interlock.settings import table

ROOT = Path(__file__).parents[2]
PACKAGES = ("interlock", "compiler", "serving", "router", "control_plane", "loadtest")
PAGES = [ROOT / "README.md", *(ROOT / package / "README.md" for package in PACKAGES)]
README = PAGES[0].read_text("utf-8")
FRONT_DOOR = PAGES[1].read_text("utf-8")


def test_table_of_the_environment_is_the_generated_one():
    assert table() in README, "put the output of python -m interlock.settings into README.md"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_command_is_documented(command):
    """In the table of the front door, with the words of its own help."""
    assert f"| `{command}` | {COMMANDS[command][1]} |" in FRONT_DOOR


@pytest.mark.parametrize("package", PACKAGES)
def test_package_has_a_page_of_its_own(package):
    page = ROOT / package / "README.md"
    assert page.exists()
    assert len(page.read_text("utf-8").splitlines()) <= 120


def test_readme_fits():
    assert len(README.splitlines()) < 150


def shown_commands(page: Path) -> list[str]:
    """Every ``interlock ...`` line of the code on a page."""
    if not page.exists():
        return []
    text = page.read_text("utf-8")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [re.split(r"&&|\||;|#", word)[0].strip() for word in (*lines, *spans)]
    return [word for word in found if re.match(r"interlock [a-z-]+( |$)", word)]


@pytest.mark.parametrize(
    ("page", "line"),
    [
        pytest.param(page, line, id=f"{page.parent.name}: {line}")
        for page in PAGES
        for line in dict.fromkeys(shown_commands(page))
    ],
)
def test_command_line_on_a_page_exists(page, line):
    words = line.split()[1:]
    command: click.Command = cli
    context = click.Context(cli)
    names: set[str] = set()
    while words and isinstance(command, click.Group):
        name = words.pop(0)
        if "|" in name or not name[0].isalpha() or name.isupper():
            break
        found = command.get_command(context, name)
        assert found is not None, f"no command {name!r} in {command.name}"
        command = found
        names |= {option for each in command.params for option in each.opts + each.secondary_opts}
    given = {word.split("=")[0].strip("[]") for word in words if word.startswith(("--", "[--"))}
    assert given <= names | {"--help"}, f"{sorted(given - names)} of {line}"
