"""``interlock jobs``, ``validate`` and ``compliance``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from interlock.commands.jobs_schedule import schedule
from interlock.commands.judge import version_path
from interlock.follow import follow_path
from interlock.present import show_facts, show_rows
from interlock.remote import Remote, remote_command


@click.group()
def jobs() -> None:
    """Work in the background: progress, logs, cancel."""


@jobs.command("list")
@click.option("--state", type=click.Choice(
    ["queued", "running", "succeeded", "failed", "cancelled"]))  # fmt: skip
@click.option("--kind")
@remote_command
def list_jobs(remote: Remote, state: str | None, kind: str | None) -> None:
    """Jobs, newest first."""
    columns = ("id", "kind", "state", "progress", "step", "attempts", "created_by", "created_at")
    rows = remote.pages("/jobs", state=state, kind=kind)
    show_rows(rows, columns, as_json=remote.as_json, empty="There is no job.")


@jobs.command("show")
@click.argument("job")
@remote_command
def show_job(remote: Remote, job: str) -> None:
    """A job with its tries and its log."""
    body = remote.call("GET", f"/jobs/{job}")
    if remote.as_json:
        click.echo(msgspec.json.encode(body).decode())
        return
    show_facts(body["job"], ("id", "kind", "state", "progress", "step", "error", "created_by"),
               as_json=False)  # fmt: skip
    click.echo()
    columns = ("attempt", "worker", "started_at", "ended_at", "outcome", "reason")
    show_rows(body["attempts"], columns, as_json=False, empty="It was not tried yet.")
    for line in body["log"]:
        click.echo(f"{line['at'][11:19]} {line['level']:7} {line['line']}")


@jobs.command("watch")
@click.argument("job")
@remote_command
def watch_job(remote: Remote, job: str) -> None:
    """Follow a job to its end."""
    answer = follow_path(remote, f"/jobs/{job}", "job")
    show_facts(answer, ("id", "kind", "state", "result"), as_json=remote.as_json)


@jobs.command("cancel")
@click.argument("job")
@remote_command
def cancel_job(remote: Remote, job: str) -> None:
    """Cancel a queued job, or ask a running one to stop."""
    answer = remote.call("POST", f"/jobs/{job}/cancel")
    show_facts(answer, ("id", "state", "cancel_requested"), as_json=remote.as_json)


@jobs.command("retry")
@click.argument("job")
@remote_command
def retry_job(remote: Remote, job: str) -> None:
    """Do the work of a failed or cancelled job again."""
    answer = remote.call("POST", f"/jobs/{job}/retry")
    show_facts(answer, ("id", "kind", "state"), as_json=remote.as_json)


jobs.add_command(schedule)


@click.command()
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--dataset", help="Default: the one it was trained on.")
@click.option("--snapshot", help="Digest, number or latest; default: held-out training rows.")
@click.option("--threshold", type=float, help="Least probability of a favourable answer.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder that receives the reports.")  # fmt: skip
@remote_command
def validate(
    *,
    remote: Remote,
    target: str,
    dataset: str | None,
    snapshot: str | None,
    threshold: float | None,
    out: Path | None,
) -> None:
    """Score a snapshot with a version: predictions, fairness, drift, explanations, gates."""
    _, _, model, _, version = version_path(target).split("/")
    body = {"model": model, "version": int(version), "dataset": dataset, "snapshot": snapshot,
            "threshold": threshold}  # fmt: skip
    started = remote.call("POST", "/validations", body)
    path = f"/validations/{started['id']}"
    done = follow_path(remote, path, f"validation of {target}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for row in remote.call("GET", f"{path}/reports"):
            content = remote.send("GET", f"{path}/reports/{row['name']}").content
            ending = "html" if row["media_type"].startswith("text/html") else "json"
            (out / f"{row['name']}.{ending}").write_bytes(content)
    if remote.as_json:
        click.echo(msgspec.json.encode(done).decode())
    else:
        show_facts(done, ("id", "model", "version", "number", "snapshot"), as_json=False)
        click.echo()
        show_facts(done["summary"], as_json=False)
        for gate in done["gates"]:
            word = "held" if gate["held"] else "BREACHED"
            click.echo(f"gate {gate['gate']} {gate['limit']}: {gate['value']} {word}")
        if out is not None:
            click.echo(f"reports in {out}: open {out / 'page.html'}")
    if done["breached"]:
        raise SystemExit(1)


@click.group()
def compliance() -> None:
    """The compliance setup of a version: twelve sections, answered and scored."""


@compliance.command("profile")
@click.argument("model")
@click.argument("profile")
@remote_command
def choose(remote: Remote, model: str, profile: str) -> None:
    """Say which profile a model answers to; approval then needs a passing score."""
    answer = remote.call("PUT", f"/models/{model}/compliance", {"profile": profile})
    show_facts(answer, ("profile", "title", "promotes", "as_of"), as_json=remote.as_json)


@compliance.command("show")
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--at", help="As it was at this time (RFC 3339).")
@remote_command
def show_setup(remote: Remote, target: str, at: str | None) -> None:
    """Answers, findings and what is still open."""
    query = f"?at={at.replace('+', '%2B')}" if at else ""
    body = remote.call("GET", f"{version_path(target)}/compliance{query}")
    if remote.as_json:
        click.echo(msgspec.json.encode(body).decode())
        return
    columns = ("item", "value", "source", "author", "reviewer", "carried", "valid_until")
    show_rows(body["answers"], columns, as_json=False, empty="Nothing is answered.")
    click.echo()
    for finding in body["findings"]:
        click.echo(f"{finding['severity']} finding in {finding['section']}: {finding['text']} "
                   f"({finding['owner']}, due {finding['due']})")  # fmt: skip
    _show_score(body["score"])


def _show_score(score: dict[str, Any]) -> None:
    show_rows(score["sections"], ("key", "title", "mandatory", "score", "open"), as_json=False,
              empty="")  # fmt: skip
    click.echo(
        f"\nevidence completeness {score['overall']}, {score['status']}: "
        f"{score['mandatory_passed']} of {score['mandatory']} mandatory sections pass, "
        f"{score['coverage']:.0%} of the weight is bound to artifacts ({score['policy']}, "
        f"profile {score['profile']})"
    )


@compliance.command("fill")
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--answer", "answers", multiple=True, metavar="ITEM=TEXT", help="Repeat.")
@remote_command
def fill(remote: Remote, target: str, answers: tuple[str, ...]) -> None:
    """Answer what the system can prove, then what is given here."""
    path = f"{version_path(target)}/compliance"
    body = remote.call("POST", f"{path}/fill")
    for text in answers:
        item, _, value = text.partition("=")
        body = remote.call("POST", f"{path}/answers", {"item": item, "value": value})
    if remote.as_json:
        click.echo(msgspec.json.encode(body).decode())
    else:
        _show_score(body["score"])


@compliance.command("review")
@click.argument("target", metavar="MODEL@VERSION")
@click.argument("items", nargs=-1, required=True)
@remote_command
def review(remote: Remote, target: str, items: tuple[str, ...]) -> None:
    """Agree with others' answers."""
    path = f"{version_path(target)}/compliance/answers"
    for item in items:
        body = remote.call("POST", f"{path}/{item}/review")
    if remote.as_json:
        click.echo(msgspec.json.encode(body).decode())
    else:
        _show_score(body["score"])


@compliance.command("score")
@click.argument("target", metavar="MODEL@VERSION")
@remote_command
def take_score(remote: Remote, target: str) -> None:
    """Compute the score and keep it for the approval; exit 1 while mandatory sections are open."""
    body = remote.call("POST", f"{version_path(target)}/compliance/score")
    if remote.as_json:
        click.echo(msgspec.json.encode(body).decode())
    else:
        _show_score(body)
    if body["status"] == "fail":
        raise SystemExit(1)
