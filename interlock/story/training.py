"""Chapters: the data set with its protected columns, three models, and who may approve them."""

from __future__ import annotations

from typing import Any

from interlock.story import cast
from interlock.story.cast import COMPLIANCE, MANAGER, MODELS, SCIENTIST, Plan
from interlock.story.client import Answer
from interlock.story.narrator import StoryBrokenError
from interlock.story.people import items
from interlock.story.scene import Scene

DONE = ("succeeded", "done", "failed", "cancelled", "lost")


def play_data(scene: Scene) -> None:
    """Register the German credit data, unless it is there."""
    scene.narrator.chapter("The data scientist registers the German credit data")
    path = f"/api/datasets/{cast.DATASET}"
    known = scene.client(SCIENTIST).call("GET", path)
    if known.status == 404:
        body = {
            "name": cast.DATASET,
            "task": "classification",
            "target": cast.TARGET,
            "positive": "bad",
            "protected": list(cast.PROTECTED),
            "source": cast.SOURCE,
            "licence": cast.LICENCE,
        }
        answer = scene.tell(
            scene.ask(SCIENTIST, "POST", "/api/datasets", body), "name", "target", "protected"
        )
        scene.narrator.check(answer.status == 201, "the data set is registered with its source")
        answer = scene.ask(
            SCIENTIST,
            "POST",
            f"{path}/snapshots",
            cast.csv_bytes(),
            headers={"Content-Type": "text/csv"},
        )
        scene.tell(answer, "snapshot", "rows")
        scene.narrator.check(answer.status == 201 and answer.body["rows"] == 1000, "1,000 rows")
    answer = scene.tell(scene.ask(SCIENTIST, "GET", path), "name", "protected", "licence")
    scene.narrator.check(
        set(answer.body["protected"]) == set(cast.PROTECTED),
        "sex and marital status, age and foreign worker are protected: they stay out of models "
        "and rules",
        answer.body,
    )


def play_training(scene: Scene) -> dict[str, int]:
    """Train what is missing; version by model."""
    scene.narrator.chapter("Three models, trained, exported and proved equal to their originals")
    known = {plan.model: _latest(scene, plan) for plan in MODELS}
    runs = {plan: _start(scene, plan) for plan in MODELS if known[plan.model] is None}
    finished = _follow(scene, runs) if runs else {}
    versions: dict[str, int] = {}
    for plan in MODELS:
        run = finished.get(plan)
        versions[plan.model] = run["version"] if run else known[plan.model] or 0
    _show(scene, versions)
    return versions


def _latest(scene: Scene, plan: Plan) -> int | None:
    """The newest version of a model that has a package and was not turned down."""
    client = scene.client(SCIENTIST)
    answer = client.call("GET", f"/api/models/{plan.model}/versions")
    rows = items(answer.body) if answer.status == 200 else []
    usable = [
        row["version"]
        for row in rows
        if row["package"] and row["state"] not in ("rejected", "retired", "terminated")
    ]
    return max(usable, default=None)


def _start(scene: Scene, plan: Plan) -> str:
    body = {
        "dataset": cast.DATASET,
        "model": plan.model,
        "recipe": {"estimator": plan.estimator, "params": plan.params, "seed": cast.SEED},
        "test_fraction": cast.TEST_FRACTION,
    }
    scene.narrator.tell(f"{plan.model}: for {plan.why}")
    answer = scene.tell(scene.ask(SCIENTIST, "POST", "/api/runs", body), "id", "model", "version")
    scene.narrator.check(answer.status == 202, f"{plan.model} is queued", answer.body)
    return str(answer.body["id"])


def _follow(scene: Scene, runs: dict[Plan, str]) -> dict[Plan, dict[str, Any]]:
    """Show progress until every run has ended; the runs as the API tells them."""
    client, finished = scene.client(SCIENTIST), dict[Plan, dict[str, Any]]()
    with scene.narrator.progress() as bars:
        tasks = {plan: bars.add_task(plan.model, total=1.0, step="queued") for plan in runs}

        def look() -> bool:
            for plan, run in runs.items():
                if plan in finished:
                    continue
                body = client.call("GET", f"/api/runs/{run}").body
                step = str(body.get("step") or body.get("state") or "")
                bars.update(tasks[plan], completed=float(body.get("progress") or 0), step=step)
                if body["state"] in DONE:
                    bars.update(tasks[plan], completed=1.0, step=body["state"])
                    finished[plan] = body
                    scene.narrator.tell(f"{plan.model}: {body['state']}")
            return len(finished) == len(runs)

        scene.wait_for("the training runs", look, longest_s=180, pause_s=0.2)
    for plan, body in finished.items():
        if body["state"] not in ("succeeded", "done"):
            raise StoryBrokenError(f"training {plan.model} {body['state']}", at=str(body))
    return finished


def version_path(model: str, version: int) -> str:
    """Path of one version."""
    return f"/api/models/{model}/versions/{version}"


def _show(scene: Scene, versions: dict[str, int]) -> None:
    """Metrics on held-out rows, and parity of the exported package with the fitted pipeline."""
    rows = []
    for model, version in versions.items():
        body = scene.client(SCIENTIST).call("GET", version_path(model, version)).body
        metrics, parity = body["metrics"], body["parity"]
        rows.append(
            (
                f"{model} v{version}",
                body["state"],
                *(_number(metrics, name) for name in ("roc_auc", "accuracy", "log_loss", "brier")),
                _parity(parity),
                body["package"][:19] + "…",
            )
        )
    columns = ("model", "state", "AUC", "accuracy", "log loss", "Brier", "parity", "package")
    scene.narrator.tell("on rows that training never saw:")
    scene.narrator.rows(
        *("   " + columns[0], *columns[1:]), rows=[("   " + r[0], *r[1:]) for r in rows]
    )
    scene.narrator.check(len(rows) == len(MODELS), "each package answers as its fitted pipeline")


def _number(metrics: dict[str, Any], name: str) -> str:
    value = metrics.get(name, metrics.get("test", {}).get(name) if "test" in metrics else None)
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _parity(parity: dict[str, Any]) -> str:
    rows = parity.get("rows", parity.get("checked", 0))
    worst = parity.get("max_abs_diff", parity.get("worst", parity.get("max_difference", 0.0)))
    return f"{rows:,} rows, worst {worst:.1e}"


def play_approvals(scene: Scene, versions: dict[str, int]) -> None:
    """Submit, be refused, be approved by somebody else."""
    scene.narrator.chapter("Who trains does not approve")
    for model, version in versions.items():
        path = version_path(model, version)
        state = scene.client(SCIENTIST).call("GET", path).body["state"]
        if state in ("draft", "validated"):
            answer = scene.tell(scene.ask(SCIENTIST, "POST", f"{path}/submit"), "state")
            scene.narrator.check(answer.status < 300, f"{model} v{version} is submitted")
            if model == "standard_underwriting":
                _refused(scene, path)
            _approve(scene, model, path)
    body = scene.client(COMPLIANCE).call("GET", version_path(*next(iter(versions.items())))).body
    scene.narrator.tell(f"history of one: {' → '.join(_states(body))}")
    states = {m: scene.client(MANAGER).call("GET", version_path(m, v)).body["state"]
              for m, v in versions.items()}  # fmt: skip
    scene.narrator.check(
        all(state in ("approved", "deployed") for state in states.values()),
        "all three versions carry a signed approval of the manager",
        states,
    )


def _states(body: dict[str, Any]) -> list[str]:
    found = [str(event["state"]) for event in body.get("history", ()) if "state" in event]
    return found or [str(body["state"])]


def _refused(scene: Scene, path: str) -> None:
    """The data scientist tries it with a perfectly good signature."""
    answer = scene.client(SCIENTIST).call("GET", f"{path}/statement")
    if answer.status < 400:
        envelope = scene.sign_statement(SCIENTIST, answer.body)
    else:
        statement = scene.client(MANAGER).call("GET", f"{path}/statement").body
        envelope = scene.sign_statement(SCIENTIST, statement)
    shown = {"envelope": "signed by Dana's own key"}
    answer = scene.ask(SCIENTIST, "POST", f"{path}/approve", {"envelope": envelope}, show=shown)
    scene.tell(answer)
    scene.narrator.check(
        (answer.status, answer.code) == (403, "approval.own_work"),
        "the data scientist cannot approve his own model",
        answer.body,
    )


def _approve(scene: Scene, model: str, path: str) -> Answer:
    """The manager reads every report, signs on this machine and approves."""
    reports = items(scene.client(MANAGER).call("GET", f"{path}/reports").body)
    for report in reports:
        scene.client(MANAGER).call("GET", f"{path}/reports/{report['name']}")
    statement = scene.client(MANAGER).call("GET", f"{path}/statement").body
    key = scene.signing_key(MANAGER)
    shown = {"envelope": f"statement signed by {key.id}", "reports read": len(reports)}
    envelope = scene.sign_statement(MANAGER, statement)
    answer = scene.ask(MANAGER, "POST", f"{path}/approve", {"envelope": envelope}, show=shown)
    scene.tell(answer, "state")
    scene.narrator.check(answer.status < 300, f"the manager approves {model}", answer.body)
    return answer
