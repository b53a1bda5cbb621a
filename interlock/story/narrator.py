"""Prints the story: chapters, what was asked, what came back, what it proves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from compiler.errors import AppError
from interlock.story.client import Answer

BODY_WIDTH = 150


class StoryBrokenError(AppError):
    """A step of the story did not hold."""

    code = "story.broken"


class Narrator:
    """Tells the story and counts its steps.

    Args:
        console: where it is printed.
        clock: seconds, for tests.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self.console = console
        self.held = 0
        self.live = console.is_terminal
        """Whether bars move; elsewhere progress is told in lines."""
        self._clock = clock
        self._started = clock()
        self._chapter = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        took = self._clock() - self._started
        line = Text(f"\n{self._chapter}. {title}", style="bold")
        line.append(f"  {took:.1f} s", style="dim")
        self._print(line)

    def tell(self, text: str) -> None:
        """One line of the story."""
        self._print(Text(f"   {text}"))

    def asked(self, who: str, method: str, path: str, body: Any = None) -> None:
        """Who asked what."""
        line = Text("   > ", style="cyan")
        line.append(f"{who}: ", style="bold cyan")
        line.append(f"{method} {path}", style="cyan")
        if body is not None:
            line.append(f" {shorten(body)}", style="dim")
        self._print(line)

    def answered(self, answer: Answer, show: Any = None) -> None:
        """What came back; ``show`` replaces the body where that is long."""
        good = answer.status < 400
        line = Text("   < ", style="green" if good else "yellow")
        line.append(str(answer.status), style="bold green" if good else "bold yellow")
        body = answer.body if show is None else show
        if body is not None:
            line.append(f" {shorten(body)}", style="dim")
        self._print(line)

    def check(self, holds: bool, promise: str, otherwise: object = "") -> None:
        """One step that must hold.

        Raises:
            StoryBrokenError: it does not.
        """
        if not holds:
            raise StoryBrokenError(f"did not hold: {promise}", at=shorten(otherwise, 400))
        self.held += 1
        line = Text("   + ", style="bold green")
        line.append(promise, style="green")
        self._print(line)

    def rows(self, *columns: str, rows: list[tuple[str, ...]]) -> None:
        """A small table: columns as wide as they need, lines never broken."""
        lines = [columns, *rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
        for number, line in enumerate(lines):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self._print(Text(f"     {text.rstrip()}", style="" if number else "bold dim"))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Live bars, on a terminal."""
        columns = (
            TextColumn("     {task.description:<24}"),
            BarColumn(24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[step]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            yield bars

    def _print(self, line: Text) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)


def shorten(value: object, width: int = BODY_WIDTH) -> str:
    """JSON of a value on one line, cut with an ellipsis.

    >>> shorten({"a": 1})
    '{"a":1}'
    >>> shorten("abcdef", 4)
    'abc…'
    """
    if isinstance(value, str):
        text = " ".join(value.split())
    elif isinstance(value, bytes):
        text = f"({len(value):,} bytes)"
    else:
        text = msgspec.json.encode(value).decode()
    return text if len(text) <= width else text[: width - 1] + "…"
