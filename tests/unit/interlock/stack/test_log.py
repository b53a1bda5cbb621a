"""The one log: every line in the file, the important ones on the console."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from interlock.stack.log import TAIL_LINES, Log


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=40, no_color=True)


@pytest.fixture
def log(tmp_path, console):
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    log = Log(tmp_path / "all.log", console, clock=lambda: moment)
    yield log
    log.close()


def test_line_has_time_process_and_text(log, tmp_path):
    log.write("router", "INFO ready\n")
    assert (tmp_path / "all.log").read_text() == "03:04:05.678 router        INFO ready\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [("INFO ready", False), ("WARNING slow", True), ("ERROR broken", True), ("no WARNING", False)],
)
def test_alarms_are_shown_at_once(line, shown, log, console):
    log.write("router", line)
    assert (line in console.file.getvalue()) is shown


def test_everything_is_shown_when_asked_for(log, console):
    log.show_all = True
    log.write("router", "INFO " + "x" * 100)
    assert "x" * 100 in console.file.getvalue()


def test_events_of_the_stack_are_shown(log, console):
    log.event("router was killed by SIGKILL")
    assert "router was killed by SIGKILL" in console.file.getvalue()


def test_colours_and_markup_of_a_process_do_no_harm(log, console, tmp_path):
    log.show_all = True
    log.write("redis", "\x1b[31mred\x1b[0m [bold]")
    assert "red [bold]" in console.file.getvalue()
    assert "\x1b" not in (tmp_path / "all.log").read_text()


def test_last_words_are_the_last_lines(log):
    for number in range(100):
        log.write("worker", f"line {number}")
    assert log.tail("worker").splitlines()[-1] == "line 99"
    assert len(log.tail("worker").splitlines()) == TAIL_LINES
    assert log.tail("nobody") == ""


def test_long_file_is_put_aside_at_the_start(tmp_path, console, monkeypatch):
    monkeypatch.setattr("interlock.stack.log.ROTATE_BYTES", 10)
    path = tmp_path / "interlock.log"
    path.write_text("an old line\n")
    log = Log(path, console)
    log.close()
    assert path.read_text() == ""
    assert (tmp_path / "interlock.log.1").read_text() == "an old line\n"


def test_full_disk_loses_lines_and_nothing_else(console):
    log = Log(Path("/dev/full"), console)
    log.write("router", "WARNING slow")
    log.close()
    assert log.lost == 1
    assert "WARNING slow" in console.file.getvalue()
    assert log.tail("router") == "WARNING slow"
