"""``interlock audit reveal|erase|explain|parts|retention``, over the REST API."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import click
import msgspec

from interlock.present import show_rows
from interlock.remote import Remote, remote_command

POLL_S = 0.25
POLICY = ("retention_class", "keep_days", "legal_hold", "reason")
DISPOSAL = ("disposed_at", "retention_class", "day", "rows", "archive", "archive_digest")
REASON = click.option("--reason", required=True, help="Why; it is recorded with the act.")


def show_json(found: Any) -> None:
    """A JSON document for people."""
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


@click.command()
@click.argument("record", type=click.UUID)
@REASON
@remote_command
def reveal(remote: Remote, record: UUID, *, reason: str) -> None:
    """Open the sensitive values of one record; who did and why becomes part of the evidence."""
    found = remote.call("POST", f"/audit/records/{record}/reveal", {"reason": reason})
    if remote.as_json:
        click.echo(msgspec.json.encode(found))
        return
    show_json(found["features"])
    for name in found["sealed"]:
        click.echo(f"{name}: its key is destroyed, nobody can open it", err=True)


@click.command()
@click.option("--subject", required=True, help="Person whose sensitive data is to be destroyed.")
@REASON
@click.option("--yes", is_flag=True, help="Do not ask: it cannot be undone.")
@remote_command
def erase(remote: Remote, *, subject: str, reason: str, yes: bool) -> None:
    """Destroy the keys of a person's sensitive values; decisions and their proofs stay."""
    if not yes:
        click.confirm("Nobody will be able to open these values again. Go on?", abort=True)
    found = remote.call("POST", "/audit/erasures", {"subject": subject, "reason": reason})
    if remote.as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(f"{found['keys']} keys of {found['subject_ref']} destroyed")


@click.command()
@click.argument("record", type=click.UUID)
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=10.0, show_default=True,
              help="Seconds to wait for the explainer.")  # fmt: skip
@remote_command
def explain(remote: Remote, record: UUID, *, wait_s: float) -> None:
    """Why a recorded decision came out as it did; made now when nobody asked before."""
    until = time.monotonic() + wait_s
    while True:
        found = remote.call("POST", f"/audit/records/{record}/explain")
        if found["state"] != "pending" or time.monotonic() >= until:
            break
        time.sleep(POLL_S)
    if remote.as_json:
        click.echo(msgspec.json.encode(found))
    elif found["state"] == "pending":
        click.echo("pending: the explainer has not come to it yet")
    else:
        for number, reason in enumerate(found["reasons"], 1):
            click.echo(f"{number}. {reason}")
        click.echo(f"state {found['state']}, {found['method']} explanation of the {found['space']}")
        for name, part in sorted(found["phi"].items(), key=lambda item: -abs(item[1])):
            click.echo(f"  {name:32} {part:+.4f}")
    if found["state"] == "pending":
        sys.exit(1)


@click.command()
@click.option("--subject", required=True, help="Whom the decisions are about.")
@click.option("--endpoint", help="Endpoint.")
@click.option("--since", type=click.DateTime(), help="First time (UTC), inclusive.")
@click.option("--until", type=click.DateTime(), help="End (UTC), exclusive.")
@remote_command
def parts(
    remote: Remote, *, subject: str, endpoint: str | None, since: datetime | None,
    until: datetime | None,
) -> None:  # fmt: skip
    """Decisions about a subject that streams and bulk jobs made, one JSON line each."""
    for row in part_rows(remote, subject=subject, endpoint=endpoint, since=since, until=until):
        click.echo(msgspec.json.encode(row))


def part_rows(remote: Remote, **wanted: Any) -> Iterator[dict[str, Any]]:
    """Rows about a subject out of columnar parts, oldest first."""
    given = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in wanted.items()
        if value is not None
    }
    cursor: str | None = ""
    while cursor is not None:
        query = urlencode({**given, "cursor": cursor} if cursor else given)
        found = remote.call("GET", f"/audit/parts?{query}")
        yield from found["items"]
        for digest in found["missing"]:
            click.echo(f"{digest}: not in the artifact store (yet)", err=True)
        cursor = found["next"]


@click.group()
def retention() -> None:
    """How long records are kept, by retention class."""


@retention.command("list")
@remote_command
def list_policies(remote: Remote) -> None:
    """The policies; a class without one is kept for ever."""
    rows = remote.pages("/audit/retention")
    show_rows(rows, POLICY, as_json=remote.as_json, empty="no policies: everything is kept")


@retention.command("set")
@click.argument("retention_class")
@click.option("--keep-days", type=click.IntRange(1, 36_500), required=True,
              help="Days after which a day of records is archived and dropped.")  # fmt: skip
@click.option("--legal-hold/--no-legal-hold", default=False, help="Keep everything meanwhile.")
@REASON
@remote_command
def set_policy(
    remote: Remote, retention_class: str, *, keep_days: int, legal_hold: bool, reason: str
) -> None:
    """Say how long a class is kept from now on."""
    body = {"keep_days": keep_days, "legal_hold": legal_hold, "reason": reason}
    found = remote.call("PUT", f"/audit/retention/{quote(retention_class, safe='')}", body)
    show_rows([found], POLICY, as_json=remote.as_json, empty="")


@retention.command()
@remote_command
def disposals(remote: Remote) -> None:
    """Days that were archived and dropped."""
    rows = remote.pages("/audit/disposals")
    show_rows(rows, DISPOSAL, as_json=remote.as_json, empty="nothing was disposed of")


ACTS = (reveal, erase, explain, parts, retention)
