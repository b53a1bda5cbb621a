"""The validation job: batch inference through the serving engine, four reports, gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from control_plane.datasets.files import SnapshotFiles
from control_plane.jobs.task import Task
from control_plane.validation import store
from control_plane.validation.schemas import GateResult, judge

CHUNK_ROWS = 65_536
_canonical = msgspec.json.Encoder(order="sorted")


class Order(msgspec.Struct, frozen=True):
    """What the queue says about one validation."""

    validation: UUID
    model: str
    version: int
    package: str
    dataset: str
    snapshot: str
    options: dict[str, Any]


async def run(task: Task) -> dict[str, Any]:
    """Validate a version on a snapshot.

    Raises:
        DataError: a snapshot is lost or was changed.
        PackageError: the package is damaged.
        ScoreError: a row does not fit the model.
    """
    order = msgspec.convert(task.payload, Order)
    task.progress(0.01, "loading the model")
    from control_plane.validation import baseline, reports

    subject = reports.open_subject(
        SnapshotFiles(task.order.artifact_store), task.order.artifact_store, order
    )
    task.note(f"{len(subject.rows)} rows: {subject.which}")
    documents = judged(subject, task.progress)
    task.progress(0.93, "baseline")
    async with task.pool.connection() as connection:
        serving = await store.baseline(connection, order.model, order.version)
    before = baseline.baseline_of(subject, serving, task.order.artifact_store, CHUNK_ROWS)
    worse = baseline.changes(documents["predictions"]["metrics"], before.metrics)
    documents["predictions"]["baseline"] = msgspec.to_builtins(before) | {"worse_by": worse}
    figures = reports.figures(documents)
    figures |= worse
    figures["cost_us"] = round(subject.model.cost_us, 2)
    async with task.pool.connection() as connection:
        gates = judge(await store.gates(connection, order.model), figures)
    task.progress(0.96, "writing the reports")
    contents = render(order, subject, documents, gates)
    async with task.transaction() as connection:
        await keep(connection, order, figures, gates, contents)
    breached = [result.gate for result in gates if not result.held]
    if breached:
        task.note(f"gates breached: {', '.join(breached)}", "warning")
    return {"validation": str(order.validation), "breached": breached, "figures": figures}


def judged(subject: Any, say: Callable[[float, str], None]) -> dict[str, Any]:
    """The four reports by name.

    Args:
        subject: a model and the rows it is judged on.
        say: is told how far the work is, 0.1 to 0.92, and what is done.
    """
    from control_plane.validation import reports

    say(0.1, "scoring")
    subject.score(lambda share: say(0.1 + 0.3 * share, "scoring"), CHUNK_ROWS)
    documents = {}
    say(0.45, "predictions")
    documents["predictions"] = reports.predictions(subject)
    say(0.6, "fairness")
    documents["fairness"] = reports.fairness_of(subject)
    say(0.7, "drift")
    documents["drift"] = reports.drift_of(subject)
    say(0.8, "explanations")
    documents["explanations"] = reports.explanations(
        subject, lambda share: say(0.8 + 0.12 * share, "explanations")
    )
    return documents


def render(
    order: Order, subject: Any, documents: dict[str, Any], gates: list[GateResult]
) -> dict[str, tuple[str, bytes]]:
    """Every report as (media type, bytes) by name, the page included."""
    from control_plane.validation.page import page

    head = {
        "format": "interlock/validation-report/v1",
        "model": order.model,
        "version": order.version,
        "package": order.package,
        "dataset": order.dataset,
        "snapshot": order.snapshot,
        "rows": len(subject.rows),
        "which": subject.which,
        "gates": msgspec.to_builtins(gates),
    }
    found = {
        name: ("application/json", _canonical.encode(head | {"report": name, **document}))
        for name, document in documents.items()
    }
    found["page"] = ("text/html; charset=utf-8", page(head, documents).encode())
    return found


async def keep(
    connection: Any,
    order: Order,
    figures: dict[str, float | None],
    gates: list[GateResult],
    contents: dict[str, tuple[str, bytes]],
) -> None:
    """Store the outcome; before its submission the version gets the reports attached."""
    from control_plane.registry import service as registry

    number = await store.finish(connection, order.validation, figures, gates)
    if number is None:
        return
    state = await connection.fetchval("SELECT model_state($1, $2)", order.model, order.version)
    for name, (media_type, content) in contents.items():
        await store.add_report(connection, order.validation, name, media_type, content)
        if state in ("validated", "changes_requested"):
            await registry.add_report(
                connection, order.model, order.version, f"{name}-{number}",
                media_type=media_type, content=content,
            )  # fmt: skip
