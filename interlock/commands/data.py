"""``interlock datasets``, ``train`` and ``runs``: from a file to a trained version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from compiler.errors import AppError
from interlock.follow import follow_job, follow_path
from interlock.present import cell, show_facts, show_rows
from interlock.remote import Remote, remote_command

KINDS = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
CHUNK = 1 << 20
WAIT = click.option("--wait/--no-wait", default=True, help="Follow until it has ended.")


class GivenError(AppError):
    """What was typed cannot be used."""

    code = "usage"


@click.group()
def datasets() -> None:
    """Data for training: declared once, uploaded as immutable snapshots."""


@datasets.command("list")
@remote_command
def list_datasets(remote: Remote) -> None:
    """Every dataset."""
    columns = ("name", "task", "target", "protected", "snapshots", "licence")
    show_rows(
        remote.pages("/datasets"), columns, as_json=remote.as_json, empty="There is no dataset."
    )


@datasets.command("add")
@click.argument("name")
@click.option("--task", default="classification", show_default=True,
              type=click.Choice(["classification", "regression", "clustering"]))  # fmt: skip
@click.option("--target", help="Column with the answer.")
@click.option("--positive", help="Class that figures speak of.")
@click.option("--favourable", help="Class that is good for the person it is about.")
@click.option("--protected", multiple=True, help="Protected column; repeat.")
@click.option("--sensitive", multiple=True, help="Column encrypted in records; repeat.")
@click.option("--ignore", multiple=True, help="Column that is no feature; repeat.")
@click.option("--missing", multiple=True, help="Word that means missing; repeat.")
@click.option("--source", required=True, help="Where the data comes from.")
@click.option("--licence", required=True, help="What allows its use.")
@remote_command
def add_dataset(remote: Remote, **given: Any) -> None:
    """Declare a dataset."""
    body = {name: value for name, value in given.items() if value}
    show_facts(remote.call("POST", "/datasets", body), as_json=remote.as_json)


@datasets.command("upload")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@WAIT
@remote_command
def upload(remote: Remote, name: str, file: Path, wait: bool) -> None:
    """Upload a CSV or Parquet file as a snapshot."""
    kind = KINDS.get(file.suffix.lower())
    if kind is None:
        raise GivenError(
            f"expected a file that ends in {' or '.join(KINDS)}, got {file.name}", at=str(file)
        )
    answer = remote.call(
        "POST", f"/datasets/{name}/snapshots", _chunks(file), headers={"Content-Type": kind}
    )
    if "job" in answer and wait:
        job = follow_job(remote, answer["job"])
        answer = remote.call("GET", f"/datasets/{name}/snapshots/{job['result']['snapshot']}")
        answer["snapshot"] = answer["digest"]
    names = [n for n in ("job", "snapshot", "number", "rows", "new") if n in answer]
    show_facts(answer, names, as_json=remote.as_json)
    if not remote.as_json:
        for finding in answer.get("findings", ()):
            click.echo(f"{finding['level']}: {finding['column']}: {finding['message']}")


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


@datasets.command("show")
@click.argument("name")
@click.option("--snapshot", default="latest", show_default=True, help="Digest, number or latest.")
@remote_command
def show_dataset(remote: Remote, name: str, snapshot: str) -> None:
    """A snapshot's columns: types, missing values, ranges, categories, findings."""
    body = remote.call("GET", f"/datasets/{name}/snapshots/{snapshot}")
    if remote.as_json:
        click.echo(msgspec.json.encode(body).decode())
        return
    show_facts(body, ("dataset", "number", "digest", "rows", "created_by"), as_json=False)
    click.echo()
    rows = [{**column, "values": _values(column)} for column in body["profile"]]
    columns = ("name", "role", "type", "missing", "distinct", "values", "protected")
    show_rows(rows, columns, as_json=False, empty="It has no columns.")
    for finding in body["findings"]:
        click.echo(f"\n{finding['level']}: {finding['column']}: {finding['message']}")
        if finding["hint"]:
            click.echo(f"  hint: {finding['hint']}")


def _values(column: dict[str, Any]) -> str:
    if column.get("minimum") is not None:
        return f"{cell(column['minimum'])} to {cell(column['maximum'])}"
    words = [value for value, _ in column.get("categories", ())[:3]]
    return ", ".join(word if len(word) <= 20 else word[:19] + "…" for word in words)


@click.command()
@click.argument("dataset")
@click.argument("model")
@click.option("--snapshot", default="latest", show_default=True)
@click.option("--estimator", help="Word of the allow-list: train exactly this.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Repeat.")
@click.option("--trials", type=int, help="Search: recipes tried at most.")
@click.option("--seconds", type=float, help="Search: no recipe is begun after this time.")
@click.option("--search", "candidates", multiple=True, metavar="ESTIMATOR",
              help="Search among these; repeat.")  # fmt: skip
@click.option("--folds", type=int, default=5, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--test-fraction", type=float, default=0.25, show_default=True)
@click.option("--exclude", multiple=True, help="Feature to leave out; repeat.")
@click.option("--accept-findings", default="", help="Why serious findings may be ignored.")
@WAIT
@remote_command
def train(
    *,
    remote: Remote,
    dataset: str,
    model: str,
    snapshot: str,
    estimator: str | None,
    params: tuple[str, ...],
    trials: int | None,
    seconds: float | None,
    candidates: tuple[str, ...],
    folds: int,
    seed: int,
    test_fraction: float,
    exclude: tuple[str, ...],
    accept_findings: str,
    wait: bool,
) -> None:
    """Train a new version of MODEL: one estimator, or the best that a search finds."""
    body: dict[str, Any] = {
        "dataset": dataset, "model": model, "snapshot": snapshot, "exclude": exclude,
        "test_fraction": test_fraction, "accept_findings": accept_findings,
    }  # fmt: skip
    if estimator:
        values = dict(_param(text) for text in params)
        body["recipe"] = {"estimator": estimator, "params": values, "seed": seed}
    else:
        body["search"] = {"estimators": candidates, "folds": folds, "seed": seed} | {
            name: value
            for name, value in (("trials", trials), ("seconds", seconds))
            if value is not None
        }
    run = remote.call("POST", "/runs", body)
    if not wait:
        show_facts(run, as_json=remote.as_json)
        return
    _show_run(remote, follow_path(remote, f"/runs/{run['id']}", f"{model}@{run['version']}"))


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise GivenError(f"expected NAME=VALUE, got {text!r}", at="--param")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _show_run(remote: Remote, run: dict[str, Any]) -> None:
    if remote.as_json:
        click.echo(msgspec.json.encode(run).decode())
        return
    show_facts(run, ("id", "model", "version", "state", "package"), as_json=False)
    metrics = run.get("metrics") or {}
    intervals = metrics.get("intervals", {})
    rows = [
        {"figure": name, "value": f"{value:.4f}",
         "95%": " to ".join(f"{bound:.4f}" for bound in intervals.get(name, ()))}
        for name, value in metrics.items()
        if isinstance(value, float)
    ]  # fmt: skip
    if rows:
        click.echo()
        show_rows(rows, ("figure", "value", "95%"), as_json=False, empty="")


@click.group()
def runs() -> None:
    """Training runs and their leaderboards."""


@runs.command("list")
@click.option("--model")
@click.option("--dataset")
@remote_command
def list_runs(remote: Remote, model: str | None, dataset: str | None) -> None:
    """Runs, newest first."""
    columns = ("id", "model", "version", "state", "recipe.estimator", "metrics.roc_auc",
               "created_by", "created_at")  # fmt: skip
    rows = remote.pages("/runs", model=model, dataset=dataset)
    show_rows(rows, columns, as_json=remote.as_json, empty="There is no run.")


@runs.command("show")
@click.argument("run")
@remote_command
def show_run(remote: Remote, run: str) -> None:
    """One run with its figures."""
    _show_run(remote, remote.call("GET", f"/runs/{run}"))


@runs.command("watch")
@click.argument("run")
@remote_command
def watch_run(remote: Remote, run: str) -> None:
    """Follow a run to its end."""
    _show_run(remote, follow_path(remote, f"/runs/{run}", run))


@runs.command("trials")
@click.argument("run")
@remote_command
def show_trials(remote: Remote, run: str) -> None:
    """Every recipe of a search, best first."""
    rows = [
        {**trial, "interval": (trial["metrics"] or {}).get("interval")}
        for trial in remote.pages(f"/runs/{run}/trials")
    ]
    columns = ("number", "state", "score", "interval", "recipe.estimator", "recipe.params",
               "duration_ms")  # fmt: skip
    show_rows(rows, columns, as_json=remote.as_json, empty="This run searched for nothing.")


@runs.command("cancel")
@click.argument("run")
@remote_command
def cancel_run(remote: Remote, run: str) -> None:
    """Stop a run."""
    answer = remote.call("POST", f"/runs/{run}/cancel")
    show_facts(answer, ("id", "state", "step"), as_json=remote.as_json)
