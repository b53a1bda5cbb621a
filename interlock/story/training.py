"""Chapters: the data set with its protected columns, three models, and who may approve them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from compiler.signing import sign
from compiler.statements import MODEL_APPROVAL, ModelApproval, encode_statement, format_time
from interlock.story import cast
from interlock.story.cast import COMPLIANCE, MANAGER, MODELS, SCIENTIST, Plan
from interlock.story.client import Answer
from interlock.story.narrator import StoryBrokenError
from interlock.story.people import items
from interlock.story.scene import Scene

ENDED = ("succeeded", "failed", "cancelled")


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
    runs = {plan.model: _start(scene, plan) for plan in MODELS if known[plan.model] is None}
    finished = _follow(scene, runs) if runs else {}
    versions: dict[str, int] = {}
    for model, version in known.items():
        number = finished[model]["version"] if model in finished else version
        assert number is not None
        versions[model] = number
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


def _follow(scene: Scene, runs: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Show progress until every run has ended; the runs as the API tells them."""
    finished: dict[str, dict[str, Any]] = {}
    said: dict[str, str] = {}
    with scene.narrator.progress() as bars:
        tasks = {model: bars.add_task(model, total=1.0, step="queued") for model in runs}

        def look() -> bool:
            for model, run in runs.items():
                if model in finished:
                    continue
                body = scene.read(SCIENTIST, f"/api/runs/{run}")
                step = body["step"] or body["state"]
                bars.update(tasks[model], completed=body["progress"], step=step)
                if not scene.narrator.live and said.get(model) != step:
                    scene.narrator.tell(f"{model}: {step}, {body['progress']:.0%}")
                    said[model] = step
                if body["state"] in ENDED:
                    bars.update(tasks[model], completed=1.0, step=body["state"])
                    finished[model] = body
                    scene.narrator.tell(f"{model}: {body['state']}")
            return len(finished) == len(runs)

        scene.wait_for("the training runs", look, longest_s=180, pause_s=0.2)
    for model, body in finished.items():
        if body["state"] != "succeeded":
            raise StoryBrokenError(f"training {model} {body['state']}", at=str(body["error"]))
    return finished


def version_path(model: str, version: int) -> str:
    """Path of one version."""
    return f"/api/models/{model}/versions/{version}"


def _show(scene: Scene, versions: dict[str, int]) -> None:
    """Metrics on held-out rows, and parity of the exported package with the fitted pipeline."""
    bodies = [scene.read(SCIENTIST, version_path(*version)) for version in versions.items()]
    scene.narrator.tell(f"on {bodies[0]['metrics']['rows']} rows that training never saw:")
    scene.narrator.rows(
        "model", "AUC (95 %)", "accuracy", "log loss", "Brier", "signed package",
        rows=[_metrics_row(body) for body in bodies],
    )  # fmt: skip
    scene.narrator.tell("the exported package against the pipeline that was fitted:")
    scene.narrator.rows(
        "model", "rows compared", "largest difference", "tolerance", "labels that differ",
        rows=[_parity_row(body) for body in bodies],
    )  # fmt: skip
    scene.narrator.check(
        all(body["parity"]["passed"] for body in bodies),
        "each package answers as its fitted pipeline does",
    )


def _metrics_row(body: dict[str, Any]) -> tuple[str, ...]:
    metrics = body["metrics"]
    low, high = metrics["intervals"]["roc_auc"]
    return (
        f"{body['model']} v{body['version']}",
        f"{metrics['roc_auc']:.3f} ({low:.2f} to {high:.2f})",
        *(f"{metrics[name]:.3f}" for name in ("accuracy", "log_loss", "brier")),
        body["package"][:23] + "…",
    )


def _parity_row(body: dict[str, Any]) -> tuple[str, ...]:
    parity = body["parity"]
    return (
        f"{body['model']}",
        ", ".join(f"{count:,} {group}" for group, count in parity["rows"].items()),
        f"{max(parity['largest_difference'].values()):.1e}",
        f"{parity['tolerance']:.0e}",
        str(sum(parity["label_flips"].values())),
    )


def play_approvals(scene: Scene, versions: dict[str, int]) -> None:
    """Submit, be refused, be approved by somebody else."""
    scene.narrator.chapter("Who trains does not approve")
    for model, version in versions.items():
        path = version_path(model, version)
        state = scene.read(SCIENTIST, path)["state"]
        if state in ("draft", "validated"):
            answer = scene.tell(scene.ask(SCIENTIST, "POST", f"{path}/submit"), "state")
            scene.narrator.check(answer.status < 300, f"{model} v{version} is submitted")
            if model == "standard_underwriting":
                _refused(scene, path)
            _approve(scene, model, path)
    body = scene.client(COMPLIANCE).call("GET", version_path(*next(iter(versions.items())))).body
    scene.narrator.tell(f"history of one: {' → '.join(_states(body))}")
    states = {m: scene.read(MANAGER, version_path(m, v))["state"]
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
    """The data scientist words the statement himself and signs it with a perfectly good key."""
    version = scene.read(SCIENTIST, path)
    now = datetime.now(UTC)
    statement = ModelApproval(
        package=version["package"],
        model=version["model"],
        version=version["version"],
        reports=tuple(report["digest"] for report in version["reports"]),
        policy="I trained it, I know it is good",
        approver=SCIENTIST.email,
        issued_at=format_time(now),
        expires_at=format_time(now + timedelta(days=30)),
    )
    key = scene.signing_key(SCIENTIST)
    envelope = sign(MODEL_APPROVAL, encode_statement(statement), key).decode()
    shown = {"envelope": f"statement signed by {key.id}, Dana's own key"}
    answer = scene.ask(SCIENTIST, "POST", f"{path}/approve", {"envelope": envelope}, show=shown)
    scene.tell(answer)
    scene.narrator.check(
        (answer.status, answer.code) == (403, "approval.own_work"),
        "the data scientist cannot approve his own model",
        answer.body,
    )


def _approve(scene: Scene, model: str, path: str) -> Answer:
    """The manager reads every report, signs on this machine and approves."""
    reports = items(scene.read(MANAGER, f"{path}/reports"))
    for report in reports:
        scene.client(MANAGER).call("GET", f"{path}/reports/{report['name']}")
    statement = scene.read(MANAGER, f"{path}/statement")
    key = scene.signing_key(MANAGER)
    shown = {"envelope": f"statement signed by {key.id}", "reports read": len(reports)}
    envelope = scene.sign_statement(MANAGER, statement)
    answer = scene.ask(MANAGER, "POST", f"{path}/approve", {"envelope": envelope}, show=shown)
    scene.tell(answer, "state")
    scene.narrator.check(answer.status < 300, f"the manager approves {model}", answer.body)
    return answer
