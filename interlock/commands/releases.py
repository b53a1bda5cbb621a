"""``interlock releases``, ``keys`` and ``nodes``: from a proposal to what the routers serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from compiler.errors import AppError
from interlock.commands.endpoints import SERVING
from interlock.commands.judge import KEY, signed
from interlock.commands.nodes_drain import drain
from interlock.present import show_facts, show_rows
from interlock.remote import Remote, remote_command

RELEASE = ("id", "endpoint", "number", "state", "proposed_by", "editors", "justification", "digest")


class ReleaseTargetError(AppError):
    """Expected ENDPOINT/NUMBER or the id of a release."""

    code = "target.invalid"


def release_path(remote: Remote, target: str) -> str:
    """Path of a release named ``ENDPOINT/NUMBER`` or by its id.

    Raises:
        ReleaseTargetError: there is none.
    """
    endpoint, slash, number = target.partition("/")
    if not slash:
        return f"/releases/{target}"
    for row in remote.pages("/releases", endpoint=endpoint):
        if str(row["number"]) == number:
            return f"/releases/{row['id']}"
    raise ReleaseTargetError(
        f"there is no release {target!r}", hint="interlock releases list shows them"
    )


@click.group()
def releases() -> None:
    """Releases of endpoints."""


@releases.command("list")
@click.option("--endpoint")
@remote_command
def list_releases(remote: Remote, endpoint: str | None) -> None:
    """Releases, newest first."""
    columns = ("endpoint", "number", "state", "proposed_by", "at", "justification", "id")
    rows = remote.pages("/releases", endpoint=endpoint)
    show_rows(rows, columns, as_json=remote.as_json, empty="no releases yet")


@releases.command("show")
@click.argument("target", metavar="ENDPOINT/NUMBER")
@remote_command
def show_release(remote: Remote, target: str) -> None:
    """One release with its approvals and history."""
    answer = remote.call("GET", release_path(remote, target))
    show_facts(answer, RELEASE, as_json=remote.as_json)
    if not remote.as_json:
        click.echo()
        show_rows(answer["history"], ("at", "state", "actor", "reason"), as_json=False, empty="")


@releases.command("propose")
@click.argument("endpoint")
@click.option("--justification", required=True)
@click.option("--effective-from", help="RFC 3339 time; default at once.")
@click.option("--waive", multiple=True, metavar="CODE", help="Finding at level error to accept.")
@remote_command
def propose(
    remote: Remote,
    endpoint: str,
    justification: str,
    effective_from: str | None,
    waive: tuple[str, ...],
) -> None:
    """Fix the draft as the next release."""
    body: dict[str, Any] = {"justification": justification, "waivers": list(waive)}
    if effective_from:
        body["effective_from"] = effective_from
    answer = remote.call("POST", f"/endpoints/{endpoint}/releases", body)
    show_facts(answer, RELEASE, as_json=remote.as_json)


@releases.command("approve")
@click.argument("target", metavar="ENDPOINT/NUMBER")
@KEY
@remote_command
def approve_release(remote: Remote, target: str, key: Path | None) -> None:
    """Sign the approval of a release that you did not edit."""
    path = release_path(remote, target)
    answer = remote.call("POST", path + "/approve", signed(remote, path, key))
    show_facts(answer, RELEASE, as_json=remote.as_json)


@releases.command("reject")
@click.argument("target", metavar="ENDPOINT/NUMBER")
@click.option("--reason", required=True)
@remote_command
def reject_release(remote: Remote, target: str, reason: str) -> None:
    """Turn a release down."""
    path = release_path(remote, target)
    answer = remote.call("POST", path + "/reject", {"reason": reason})
    show_facts(answer, RELEASE, as_json=remote.as_json)


@releases.command("activate")
@click.argument("target", metavar="ENDPOINT/NUMBER")
@remote_command
def activate(remote: Remote, target: str) -> None:
    """Put an approved release into service."""
    answer = remote.call("POST", release_path(remote, target) + "/activate")
    show_facts(answer, SERVING, as_json=remote.as_json)


@releases.command("rollback")
@click.argument("endpoint")
@click.option("--to", type=int, required=True, help="Number of a release that served before.")
@click.option("--reason", required=True)
@remote_command
def rollback(remote: Remote, endpoint: str, to: int, reason: str) -> None:
    """Return to an older release, at once."""
    answer = remote.call("POST", f"/endpoints/{endpoint}/rollback", {"to": to, "reason": reason})
    show_facts(answer, SERVING, as_json=remote.as_json)


def _limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what a key may ask."""
    for name, field, kind, text in (
        ("--in-flight", "in_flight", int, "Requests in progress on one worker."),
        ("--burst", "burst", int, "Requests at once; default twice the rate."),
        ("--rate", "rate_per_s", float, "Requests per second over all nodes; default no limit."),
    ):
        command = click.option(name, field, type=kind, help=text)(command)
    return command


@click.group()
def keys() -> None:
    """Keys that callers of an endpoint present."""


@keys.command("list")
@click.option("--endpoint")
@remote_command
def list_keys(remote: Remote, endpoint: str | None) -> None:
    """Keys without their secrets, newest first."""
    columns = ("id", "name", "endpoint", "hint", "created_by", "expires_at", "revoked_at",
               "rate_per_s", "burst", "in_flight")  # fmt: skip
    rows = remote.pages("/keys", endpoint=endpoint)
    show_rows(rows, columns, as_json=remote.as_json, empty="no keys yet")


@keys.command("create")
@click.argument("endpoint")
@click.option("--name", required=True)
@click.option("--expires-at", help="RFC 3339 time; default never.")
@_limits
@remote_command
def create_key(
    *, remote: Remote, endpoint: str, name: str, expires_at: str | None, **limits: Any
) -> None:
    """Make a key; it is shown once.

    Example: interlock keys create credit --name web --rate 500 --burst 1000
    """
    body: dict[str, Any] = {"endpoint": endpoint, "name": name, "limits": limits}
    if expires_at:
        body["expires_at"] = expires_at
    answer = remote.call("POST", "/keys", body)
    show_facts(answer, ("id", "key", "endpoint", "expires_at"), as_json=remote.as_json)


@keys.command("rotate")
@click.argument("key")
@click.option("--overlap-s", type=int, default=86400, show_default=True)
@remote_command
def rotate_key(remote: Remote, key: str, overlap_s: int) -> None:
    """Make a successor; the old key ends after the overlap."""
    answer = remote.call("POST", f"/keys/{key}/rotate", {"overlap_s": overlap_s})
    show_facts(answer, ("id", "key", "endpoint", "replaces"), as_json=remote.as_json)


@keys.command("limit")
@click.argument("key")
@_limits
@remote_command
def limit_key(*, remote: Remote, key: str, **limits: Any) -> None:
    """Replace the limits of a key; what is not given is without a limit.

    Example: interlock keys limit 81965b33-8b03-4bcc-b56b-893b7efa1c53 --rate 200
    """
    remote.call("PUT", f"/keys/{key}/limits", limits)
    click.echo(f"key {key} is limited")


@keys.command("revoke")
@click.argument("key")
@remote_command
def revoke_key(remote: Remote, key: str) -> None:
    """End a key now."""
    remote.call("DELETE", f"/keys/{key}")
    click.echo(f"key {key} is revoked")


@click.group()
def nodes() -> None:
    """Router nodes."""


@nodes.command("list")
@remote_command
def list_nodes(remote: Remote) -> None:
    """Router workers and the releases they hold."""
    columns = ("node", "worker", "pid", "port", "alive", "age_s", "loaded")
    show_rows(remote.pages("/nodes"), columns, as_json=remote.as_json, empty="no node reported yet")


nodes.add_command(drain)
