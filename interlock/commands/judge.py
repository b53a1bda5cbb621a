"""``interlock submit``, ``approve``, ``reject`` and ``registry``: a version's way to approval.

An approval is signed here, on the machine of the person who approves, with a key that never
leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compiler.errors import AppError
from compiler.signing import KeyPair, sign, unb64
from interlock.given import read_numbers
from interlock.present import show_facts, show_rows
from interlock.remote import Remote, remote_command

KEY = click.option(
    "--key", type=click.Path(path_type=Path), help="Signing key; default: the person's in the home."
)
STANDING = ("model", "version", "state", "missing")


class TargetError(AppError):
    """Expected MODEL@VERSION."""

    code = "target.invalid"


def version_path(target: str) -> str:
    """Path of ``MODEL@VERSION``.

    Raises:
        TargetError: it is written differently.
    """
    model, at, version = target.partition("@")
    if not at or not version.isdigit():
        raise TargetError(
            f"expected MODEL@VERSION, got {target!r}", hint="for example: quick_approval@1"
        )
    return f"/models/{model}/versions/{int(version)}"


def signed(remote: Remote, path: str, key: Path | None) -> dict[str, Any]:
    """The statement at a path, signed with this person's key."""
    statement = remote.call("GET", path + "/statement")
    file = key or remote.home.person_key(remote.person)
    try:
        pair = KeyPair.load(file)
    except AppError as error:
        if "passphrase" not in error.message:
            raise
        pair = KeyPair.load(file, click.prompt("Passphrase", hide_input=True))
    envelope = sign(statement["payload_type"], unb64(statement["payload"]), pair)
    return {"envelope": envelope.decode()}


@click.command()
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--note", default="")
@remote_command
def submit(remote: Remote, target: str, note: str) -> None:
    """Ask for approval of a model version."""
    answer = remote.call("POST", version_path(target) + "/submit", {"note": note})
    show_facts(answer, STANDING, as_json=remote.as_json)


@click.command()
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--read", is_flag=True, help="Print every report that was not opened yet, first.")
@KEY
@remote_command
def approve(remote: Remote, target: str, read: bool, key: Path | None) -> None:
    """Sign the approval of a model version (releases: interlock releases approve)."""
    path = version_path(target)
    if read:
        for report in remote.call("GET", path + "/reports"):
            if remote.person not in report["opened_by"]:
                _print_report(remote, path, report["name"])
    answer = remote.call("POST", path + "/approve", signed(remote, path, key))
    show_facts(answer, STANDING, as_json=remote.as_json)


@click.command()
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--reason", required=True)
@click.option("--changes", is_flag=True, help="Ask for changes instead of rejecting.")
@remote_command
def reject(remote: Remote, target: str, reason: str, changes: bool) -> None:
    """Reject a submitted model version, or ask for changes."""
    action = "/request-changes" if changes else "/reject"
    answer = remote.call("POST", version_path(target) + action, {"reason": reason})
    show_facts(answer, STANDING, as_json=remote.as_json)


@click.group()
def registry() -> None:
    """Models, versions, reports and aliases at the control plane."""


@registry.command("models")
@remote_command
def list_models(remote: Remote) -> None:
    """Every model with its newest version."""
    columns = ("name", "tier", "latest", "state", "created_by")
    show_rows(remote.pages("/models"), columns, as_json=remote.as_json, empty="no models yet")


@registry.command("versions")
@click.argument("model")
@remote_command
def list_versions(remote: Remote, model: str) -> None:
    """The versions of a model, newest first."""
    columns = ("version", "state", "state_at", "contributors", "package")
    rows = remote.pages(f"/models/{model}/versions")
    show_rows(rows, columns, as_json=remote.as_json, empty="no versions yet")


@registry.command("show")
@click.argument("target", metavar="MODEL@VERSION")
@remote_command
def show_version(remote: Remote, target: str) -> None:
    """One version: state, metrics, approvals, history."""
    answer = remote.call("GET", version_path(target))
    names = ("model", "version", "tier", "state", "package", "contributors", "metrics")
    show_facts(answer, names, as_json=remote.as_json)
    if not remote.as_json:
        columns = ("at", "state", "actor", "reason")
        click.echo()
        show_rows(answer["history"], columns, as_json=False, empty="")


@registry.command("reports")
@click.argument("target", metavar="MODEL@VERSION")
@click.argument("name", required=False)
@remote_command
def reports(remote: Remote, target: str, name: str | None) -> None:
    """The reports of a version, or one of them; that you opened it is recorded."""
    path = version_path(target)
    if name is not None:
        _print_report(remote, path, name)
        return
    columns = ("name", "media_type", "bytes", "opened_by", "digest")
    rows = remote.call("GET", path + "/reports")
    show_rows(rows, columns, as_json=remote.as_json, empty="no reports")


@registry.command("compare")
@click.argument("model")
@click.argument("before", type=int)
@click.argument("after", type=int)
@remote_command
def compare(remote: Remote, model: str, before: int, after: int) -> None:
    """What differs between two versions of a model."""
    answer = remote.call("GET", f"/models/{model}/compare?before={before}&after={after}")
    columns = ("at", "before", "after")
    show_rows(answer["differences"], columns, as_json=remote.as_json, empty="nothing differs")


@registry.command("alias")
@click.argument("model")
@click.argument("alias")
@click.argument("version", type=int, required=False)
@remote_command
def move_alias(remote: Remote, model: str, alias: str, version: int | None) -> None:
    """Point an alias at a version; without one, take it away."""
    answer = remote.call("PUT", f"/models/{model}/aliases/{alias}", {"version": version})
    show_facts(answer, ("name", "tier", "aliases"), as_json=remote.as_json)


@registry.command("tier")
@click.argument("model")
@click.argument("tier", type=click.Choice(["low", "standard", "high"]))
@remote_command
def set_tier(remote: Remote, model: str, tier: str) -> None:
    """Say how much hangs on a model; a high-tier version needs two approvals."""
    answer = remote.call("PUT", f"/models/{model}/tier", {"tier": tier})
    show_facts(answer, ("name", "tier", "aliases"), as_json=remote.as_json)


@registry.command("gates")
@click.argument("model")
@click.option(
    "--set", "wanted", multiple=True, metavar="NAME=NUMBER", help="All gates from now on."
)
@remote_command
def gates(remote: Remote, model: str, wanted: tuple[str, ...]) -> None:
    """What a model's versions have to reach before approval; with --set, say so.

    Example: interlock registry gates quick --set min_roc_auc=0.7 --set max_cost_us=100
    """
    path = f"/models/{model}/gates"
    if wanted:
        answer = remote.call("PUT", path, read_numbers(wanted, "--set"))
    else:
        answer = remote.call("GET", path)
    show_facts(answer or {"gates": "none"}, as_json=remote.as_json)


@registry.command("retire")
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--reason", required=True)
@remote_command
def retire(remote: Remote, target: str, reason: str) -> None:
    """Retire a version that nothing serves any more."""
    answer = remote.call("POST", version_path(target) + "/retire", {"reason": reason})
    show_facts(answer, STANDING, as_json=remote.as_json)


@registry.command("terminate")
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--reason", required=True)
@remote_command
def terminate(remote: Remote, target: str, reason: str) -> None:
    """Kill switch: what serves this version falls to its safe default."""
    answer = remote.call("POST", version_path(target) + "/terminate", {"reason": reason})
    show_facts(answer, STANDING, as_json=remote.as_json)


def _print_report(remote: Remote, path: str, name: str) -> None:
    content = remote.call("GET", f"{path}/reports/{name}")
    if isinstance(content, bytes):
        click.echo(content.decode(errors="replace"))
    else:
        show_facts({name: content}, (name,), as_json=remote.as_json)
