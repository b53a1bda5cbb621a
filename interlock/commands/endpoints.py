"""``interlock endpoints``: the draft of a routing policy, and the kill switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from compiler.rules.diff.report import TableDiff
from interlock.given import read_numbers
from interlock.present import show_facts, show_rows
from interlock.remote import Remote, remote_command
from interlock.show_diff import show_table_diff

ENDPOINT = ("name", "owner", "slo", "serving", "suspended", "draft_revision")
APPROVAL = ("approver", "key_id", "issued_at", "expires_at")
SERVED = ("name", "version", "approved_by", "contributors", "package")
SERVING = ("endpoint", "number", "suspended", "valid_from", "activation")


@click.group()
def endpoints() -> None:
    """Endpoints and their drafts."""


@endpoints.command("list")
@remote_command
def list_endpoints(remote: Remote) -> None:
    """Every endpoint and what it serves."""
    rows = remote.pages("/endpoints")
    show_rows(rows, ENDPOINT, as_json=remote.as_json, empty="no endpoints yet")


@endpoints.command("create")
@click.argument("name")
@click.option("--owner", default="", help="E-mail of who answers for it; default: you.")
@click.option("--slo", multiple=True, metavar="NAME=NUMBER", help="Such as p99_ms=5.")
@remote_command
def create_endpoint(remote: Remote, name: str, owner: str, slo: tuple[str, ...]) -> None:
    """Create an endpoint."""
    body = {"name": name, "owner": owner, "slo": read_numbers(slo, "--slo")}
    show_facts(remote.call("POST", "/endpoints", body), ENDPOINT, as_json=remote.as_json)


@endpoints.command("change")
@click.argument("name")
@click.option("--owner", help="E-mail of who answers for it.")
@click.option("--slo", multiple=True, metavar="NAME=NUMBER", help="All objectives from now on.")
@remote_command
def change_endpoint(remote: Remote, name: str, owner: str | None, slo: tuple[str, ...]) -> None:
    """Change owner or SLO; the next release carries them.

    Example: interlock endpoints change credit --slo p99_ms=5 --slo availability=0.999
    """
    body: dict[str, Any] = {"owner": owner} if owner else {}
    if slo:
        body["slo"] = read_numbers(slo, "--slo")
    answer = remote.call("PATCH", f"/endpoints/{name}", body)
    show_facts(answer, ENDPOINT, as_json=remote.as_json)


@endpoints.command("draft")
@click.argument("name")
@click.option("--rules", type=click.Path(exists=True, path_type=Path), help="Rule table.")
@click.option("--decisions", type=click.Path(exists=True, path_type=Path), help="Decision table.")
@click.option("--model", "models", multiple=True, metavar="NAME=VERSION")
@click.option("--policy", "policies", multiple=True, metavar="NAME=VALUE")
@click.option("--revision", type=int, help="The one you edit; default: the newest.")
@remote_command
def draft(
    *,
    remote: Remote,
    name: str,
    rules: Path | None,
    decisions: Path | None,
    models: tuple[str, ...],
    policies: tuple[str, ...],
    revision: int | None,
) -> None:
    """Show the draft, or change the parts that are given."""
    response = remote.send("GET", f"/endpoints/{name}/draft")
    found = msgspec.json.decode(response.content) if response.status_code == 200 else None
    content: dict[str, Any] = found["draft"] if found else {"rules": {}, "models": {}}
    if not (rules or decisions or models or policies):
        answer = found or remote.call("GET", f"/endpoints/{name}/draft")
        show_facts(answer, ("endpoint", "revision", "editor", "editors", "draft"),
                   as_json=remote.as_json)  # fmt: skip
        return
    if rules:
        content["rules"] = read_table(rules)
    if decisions:
        content["decision_table"] = read_table(decisions)
    for model in models:
        key, _, version = model.partition("=")
        content["models"][key] = int(version)
    for policy in policies:
        key, _, value = policy.partition("=")
        content.setdefault("policies", {})[key] = _value(value)
    base = revision if revision is not None else (found["revision"] if found else 0)
    path = f"/endpoints/{name}/draft"
    answer = remote.call("PUT", path, content, headers={"If-Match": f'"{base}"'})
    show_facts(answer, ("endpoint", "revision", "editor", "editors"), as_json=remote.as_json)


@endpoints.command("check")
@click.argument("name")
@remote_command
def check(remote: Remote, name: str) -> None:
    """Compile and analyse the draft; exit 1 when an error stops a proposal."""
    answer = remote.call("POST", f"/endpoints/{name}/draft/check")
    columns = ("level", "code", "at", "message")
    show_rows(answer["findings"], columns, as_json=remote.as_json, empty="nothing found")
    if not answer["ok"]:
        raise click.exceptions.Exit(1)


@endpoints.command("diff")
@click.argument("name")
@click.option("--traffic", type=click.Choice(["recent", "none"]), default="recent")
@remote_command
def diff(remote: Remote, name: str, traffic: str) -> None:
    """What the draft changes against the release in service, with shares of recent traffic."""
    answer = remote.call("POST", f"/endpoints/{name}/draft/diff", {"traffic": traffic})
    if remote.as_json:
        show_facts(answer, as_json=True)
        return
    show_facts(answer, ("against", "traffic", "rows", "changed", "share"), as_json=False)
    for each in answer["models"]:
        before, after = (f"version {v}" if v else "-" for v in (each["before"], each["after"]))
        click.echo(f"model {each['name']}: {before} -> {after}")
    columns = ("before.route", "before.rule", "after.route", "after.rule", "rows", "share")
    click.echo()
    show_rows(answer["moves"], columns, as_json=False, empty="no request would change its route")
    for title, word in (("routing", "routing"), ("decisions", "decision table")):
        if answer[title] is not None:
            click.echo(f"\n{word}, for every conceivable request:")
            show_table_diff(msgspec.convert(answer[title], TableDiff))
    for example in answer["examples"]:
        click.echo(f"  {example['before']['route']} -> {example['after']['route']}: "
                   f"{msgspec.json.encode(example['features']).decode()}")  # fmt: skip


@endpoints.command("suspend")
@click.argument("name")
@click.option("--reason", required=True)
@remote_command
def suspend(remote: Remote, name: str, reason: str) -> None:
    """Kill switch: fall to the safe default on every node."""
    answer = remote.call("POST", f"/endpoints/{name}/suspend", {"reason": reason})
    show_facts(answer, SERVING, as_json=remote.as_json)


@endpoints.command("resume")
@click.argument("name")
@click.option("--reason", required=True)
@remote_command
def resume(remote: Remote, name: str, reason: str) -> None:
    """Let a suspended endpoint go on."""
    answer = remote.call("POST", f"/endpoints/{name}/resume", {"reason": reason})
    show_facts(answer, SERVING, as_json=remote.as_json)


@endpoints.command("served")
@click.argument("name")
@click.option("--at", help="RFC 3339 time; default now.")
@click.option("--known-at", help="As it was known then.")
@remote_command
def served(remote: Remote, name: str, at: str | None, known_at: str | None) -> None:
    """What served an endpoint at a time, and who approved it."""
    query = "&".join(
        f"{key}={value.replace('+', '%2B')}"
        for key, value in (("at", at), ("known_at", known_at))
        if value
    )
    answer = remote.call("GET", f"/endpoints/{name}/served?{query}")
    names = ("endpoint", "at", "known_at", "suspended", "number", "digest", "proposed_by",
             "editors", "justification")  # fmt: skip
    show_facts(answer, names, as_json=remote.as_json)
    if not remote.as_json:
        click.echo()
        show_rows(answer["approvals"], APPROVAL, as_json=False, empty="not approved")
        click.echo()
        show_rows(answer["models"], SERVED, as_json=False, empty="no models")


def read_table(path: Path) -> dict[str, Any]:
    """A rule table from a file: JSON, or text in its JSON form."""
    raw = path.read_bytes()
    if raw.lstrip()[:1] == b"{":
        document: dict[str, Any] = msgspec.json.decode(raw)
        return document
    return {"text": raw.decode()}


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
