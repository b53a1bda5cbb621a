"""What users can set and call is in the README."""

import re
from pathlib import Path

import pytest

from interlock.cli import COMMANDS
from interlock.settings import VARIABLES, table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("variable", [variable.name for variable in VARIABLES])
def test_variable_is_in_the_table(variable):
    assert f"`{variable}`" in table()


def test_table_of_the_environment_is_the_generated_one():
    assert table() in README, "put the output of python -m interlock.settings into README.md"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_command_is_documented(command):
    assert re.search(rf"`interlock {command}\b", README), f"interlock {command}"


@pytest.mark.parametrize(
    "package", ["interlock", "compiler", "serving", "router", "control_plane", "loadtest"]
)
def test_package_has_a_page_of_its_own(package):
    page = ROOT / package / "README.md"
    assert page.exists()
    assert len(page.read_text("utf-8").splitlines()) <= 120


def test_readme_fits():
    assert len(README.splitlines()) < 150
