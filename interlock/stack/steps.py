"""Shows the steps of a start: what is being done now, what was done and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status

NAME_WIDTH = 11


class Step:
    """One step while it runs."""

    def __init__(self, name: str, console: Console, status: Status | None) -> None:
        self._name = name
        self._console = console
        self._status = status
        self.detail = ""

    def say(self, detail: str) -> None:
        """What is being done, or at the end what was done."""
        self.detail = detail
        if self._status is not None:
            self._status.update(f"{self._name:<{NAME_WIDTH}} {escape(detail)}")

    def wait(self, detail: str) -> None:
        """What takes a moment now; off a terminal this is a line of its own."""
        self.say(detail)
        if self._status is None:
            self._console.print(f"  {self._name:<{NAME_WIDTH}} {escape(detail)} ...")


class Steps:
    """Prints steps; on a terminal the running one has a spinner.

    Args:
        console: where.
        clock: seconds, for tests.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self.console = console
        self._clock = clock

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show a step; a failure is marked and passed on."""
        start = self._clock()
        status = self.console.status(name) if self.console.is_terminal else None
        step = Step(name, self.console, status)
        if status is not None:
            status.start()
        mark, style = "x", "red"
        try:
            yield step
            mark, style = "+", "green"
        finally:
            if status is not None:
                status.stop()
            took = self._clock() - start
            self.console.print(
                f"[{style}]{mark}[/] {name:<{NAME_WIDTH}} {escape(step.detail)} "
                f"[dim]{took:.1f} s[/]",
                highlight=False,
                soft_wrap=True,
            )
