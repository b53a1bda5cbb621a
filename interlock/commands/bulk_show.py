"""What a bulk job says while it runs and when it ends."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from router.bulk.run import Progress, Run
    from router.bulk.verify import Status

REDRAW_S = 0.2
LINE_S = 10.0
WIDTH = 20


class Screen:
    """One line that is drawn again on a terminal, or a line now and then elsewhere.

    Args:
        inputs: names of the input files.
        as_json: nothing but the last object is printed.
    """

    def __init__(self, inputs: tuple[str, ...], *, as_json: bool) -> None:
        self._inputs = inputs
        self._as_json = as_json
        self._live = sys.stderr.isatty() and not as_json
        self._next = 0.0

    def progress(self, done: Progress) -> None:
        """Draw how far the job is."""
        now = time.monotonic()
        if self._as_json or now < self._next:
            return
        self._next = now + (REDRAW_S if self._live else LINE_S)
        line = progress_line(done, now - done.started)
        click.echo(f"\r\x1b[K{line}" if self._live else line, err=True, nl=not self._live)

    def end(self, run: Run, *, complete: bool) -> None:
        """The last line, or the object for programs."""
        if self._live:
            click.echo("", err=True)
        done = run.progress
        took = time.monotonic() - done.started
        if self._as_json:
            click.echo(
                msgspec.json.encode(
                    {
                        "job": run.job.id, "endpoint": run.job.endpoint,
                        "release": run.job.number, "rows": done.rows, "skipped": done.skipped,
                        "errors": done.errors, "parts": done.units, "routes": done.routes,
                        "batch_rows": run.job.batch_rows, "seconds": round(took, 3),
                        "complete": complete,
                    }
                )
            )  # fmt: skip
            return
        skipped = f", {done.skipped:,} were done before" if done.skipped else ""
        click.echo(
            f"job {run.job.id}: {done.rows:,} rows in {took:.1f} s "
            f"({done.rows / max(took, 1e-9):,.0f}/s), {done.errors:,} with errors, "
            f"{done.units} parts{skipped}; {'complete' if complete else 'not complete'}"
        )
        if done.routes:
            click.echo("routes: " + routes_line(done.routes))


def progress_line(done: Progress, took: float) -> str:
    """Share, rows a second, routes and time left in one line."""
    filled = round(done.share * WIDTH)
    bar = "#" * filled + "." * (WIDTH - filled)
    left = took * (1 - done.share) / done.share if done.share else 0.0
    speed = done.rows / max(took, 1e-9)
    return (
        f"[{bar}] {done.share:4.0%}  {done.rows:,} rows  {speed:,.0f}/s  "
        f"{routes_line(done.routes)}  {time_line(left)} left"
    )


def routes_line(routes: dict[str, int]) -> str:
    """Shares of the models, the largest first."""
    total = sum(routes.values()) or 1
    ranked = sorted(routes.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{name or 'reject'} {count / total:.0%}" for name, count in ranked)


def time_line(seconds: float) -> str:
    """Such as ``1:02:03`` or ``0:09``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def show_status(found: Status, *, as_json: bool) -> None:
    """How far a job is."""
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    shards, begun = found.shards
    click.echo(f"job {found.job}: {found.endpoint} release {found.release}, {found.files} files")
    click.echo(f"shards: {begun} of {shards} begun")
    click.echo(f"parts:  {found.parts}, {found.rows:,} rows, {found.errors:,} with errors")
    click.echo(f"routes: {routes_line(found.routes)}")
    if found.complete:
        click.echo("complete: every row has its answer (_SUCCESS)")
    for line in found.missing[:10]:
        click.echo(f"missing: {line}")
