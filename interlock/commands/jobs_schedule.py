"""``interlock jobs schedule`` and its siblings: the same work again and again."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from interlock.present import show_facts, show_rows
from interlock.remote import Remote, remote_command

COLUMNS = ("name", "kind", "target", "every_s", "next_at", "paused", "last_at", "last_error")
UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"([0-9]{1,6})([mhdw])")


def read_every(_context: Any, _option: Any, text: str) -> int:
    """Seconds of a span such as ``30m``, ``6h``, ``1d`` or ``1w``."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"expected a span such as 30m, 6h, 1d or 1w, got {text!r}")
    return int(found[1]) * UNITS[found[2]]


@click.group("schedule")
def schedule() -> None:
    """Work that is asked for again and again."""


def _options(command: Any) -> Any:
    command = click.option("--start", type=click.DateTime(), help="First run (UTC); default now.")(
        command
    )
    return click.option("--every", required=True, callback=read_every, help="30m, 6h, 1d, 1w.")(
        command
    )


@schedule.command("import")
@click.argument("name")
@click.argument("dataset")
@click.option("--connection", required=True, help="Source database.")
@click.option("--query", required=True, help="A SELECT that gives the rows.")
@_options
@remote_command
def schedule_import(
    remote: Remote, name: str, dataset: str, *, connection: str, query: str, every: int,
    start: datetime | None,
) -> None:  # fmt: skip
    """Read a source into DATASET again and again; each run is a snapshot if anything changed.

    Example: interlock jobs schedule import nightly loans --connection core
    --query 'SELECT * FROM loans' --every 1d --start 2026-01-01T02:00:00
    """
    request = {"connection": connection, "query": query}
    _add(remote, name, "import", dataset, every, start, request)


@schedule.command("validate")
@click.argument("name")
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--dataset", help="Default: the one it was trained on.")
@click.option("--snapshot", default="latest", show_default=True, help="Digest, number or latest.")
@_options
@remote_command
def schedule_validate(
    remote: Remote, name: str, target: str, *, dataset: str | None, snapshot: str, every: int,
    start: datetime | None,
) -> None:  # fmt: skip
    """Validate a version on the newest data again and again: drift shows where it begins.

    Example: interlock jobs schedule validate watch-quick quick@3 --every 1w
    """
    request: dict[str, Any] = {"snapshot": snapshot}
    if dataset:
        request["dataset"] = dataset
    _add(remote, name, "validate", target, every, start, request)


def _add(  # noqa: PLR0917 - the fields of one request
    remote: Remote, name: str, kind: str, target: str, every: int, start: datetime | None,
    request: dict[str, Any],
) -> None:  # fmt: skip
    body = {"name": name, "kind": kind, "target": target, "every_s": every, "request": request}
    if start is not None:
        body["start"] = start.isoformat() + "Z"
    show_facts(remote.call("POST", "/schedules", body), COLUMNS[:5], as_json=remote.as_json)


@schedule.command("list")
@remote_command
def list_schedules(remote: Remote) -> None:
    """Schedules with their next and last run."""
    rows = remote.pages("/schedules")
    show_rows(rows, COLUMNS, as_json=remote.as_json, empty="nothing is scheduled")


@schedule.command("pause")
@click.argument("name")
@remote_command
def pause(remote: Remote, name: str) -> None:
    """Queue no more runs."""
    answer = remote.call("POST", f"/schedules/{name}/pause")
    show_facts(answer, COLUMNS, as_json=remote.as_json)


@schedule.command("resume")
@click.argument("name")
@remote_command
def resume(remote: Remote, name: str) -> None:
    """Queue runs again; those that were missed are not made up for."""
    answer = remote.call("POST", f"/schedules/{name}/resume")
    show_facts(answer, COLUMNS, as_json=remote.as_json)


@schedule.command("delete")
@click.argument("name")
@remote_command
def delete(remote: Remote, name: str) -> None:
    """Forget a schedule; its jobs stay."""
    remote.call("DELETE", f"/schedules/{name}")
    click.echo(f"schedule {name} is forgotten")
