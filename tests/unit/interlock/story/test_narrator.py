"""The narrator counts what held and stops at what did not."""

import io

import pytest
from rich.console import Console

from interlock.story.client import Answer
from interlock.story.narrator import Narrator, StoryBrokenError


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80, no_color=True)


def test_step_that_does_not_hold_ends_the_story_with_what_came_back(console):
    narrator = Narrator(console)
    narrator.check(True, "first")
    with pytest.raises(StoryBrokenError, match="did not hold: second") as error:
        narrator.check(False, "second", {"status": 500})
    assert narrator.held == 1
    assert "500" in error.value.at


def test_text_that_looks_like_markup_is_printed_as_it_is(console):
    narrator = Narrator(console)
    narrator.asked("Max", "POST", "/x", {"a": ["[red]"]})
    narrator.answered(Answer(200, {"b": "[/bold]"}, {}))
    text = console.file.getvalue()
    assert '{"a":["[red]"]}' in text
    assert '{"b":"[/bold]"}' in text


def test_long_line_is_not_broken(console):
    Narrator(console).tell("x" * 500)
    assert "x" * 500 in console.file.getvalue()
