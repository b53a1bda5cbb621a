"""One readable log of all processes: time, who, what."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROTATE_BYTES = 32 << 20
TAIL_LINES = 12
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_magenta")
ALARMS = ("WARNING ", "ERROR ", "CRITICAL ")
"""Lines of our processes that begin like this are always shown."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Log:
    """Collects lines of every child into one file, and shows the important ones.

    Until ``show_all`` is set, those are alarms and what happens to the stack itself.

    Args:
        path: the file; an earlier one over 32 MB is kept as ``.1``.
        console: where lines are shown, coloured by process.
        clock: local time, for tests.
    """

    def __init__(
        self, path: Path, console: Console, clock: Callable[[], datetime] = datetime.now
    ) -> None:
        if path.exists() and path.stat().st_size > ROTATE_BYTES:
            path.replace(path.with_suffix(".log.1"))
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._clock = clock
        self._colours: dict[str, str] = {}
        self._tails: dict[str, deque[str]] = {}
        self._console = console
        self.show_all = False
        self.lost = 0
        """Lines that could not be written."""
        self.width = 13

    def event(self, line: str) -> None:
        """Record something about the stack itself that people should see at once."""
        self.write("up", line, show=True)

    def write(self, who: str, line: str, *, show: bool = False) -> None:
        """Record one line of one process."""
        line = _ESCAPES.sub("", line.rstrip())
        if not line:
            return
        stamp = self._clock().strftime("%H:%M:%S.%f")[:-3]
        self._tails.setdefault(who, deque(maxlen=TAIL_LINES)).append(line)
        try:
            self._file.write(f"{stamp} {who:<{self.width}} {line}\n")
        except OSError:  # a full disk must not stop the reading: children would block on their pipe
            self.lost += 1
        if show or self.show_all or line.startswith(ALARMS):
            self._console.print(self._coloured(stamp, who, line), soft_wrap=True)

    def _coloured(self, stamp: str, who: str, line: str) -> Text:
        colour = self._colours.setdefault(who, COLOURS[len(self._colours) % len(COLOURS)])
        text = Text(stamp, style="dim")
        text.append(f" {who:<{self.width}} ", style=colour)
        text.append(line)
        return text

    def tail(self, who: str) -> str:
        """The last lines of one process."""
        return "\n".join(self._tails.get(who, ()))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what could not be written before cannot be now
            self._file.close()
