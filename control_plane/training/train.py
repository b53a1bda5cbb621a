"""The training job: snapshot, split, fit, measure, package, sign, publish, register."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from compiler.models.recipe import Recipe
from control_plane.datasets.files import SnapshotFiles
from control_plane.jobs.task import Task
from control_plane.training import store
from control_plane.training.schemas import SearchSpec

READ_SHARE = 0.05
"""Progress when the snapshot is read."""
SEARCH_SHARE = 0.75
"""Share of the progress that a search takes; the rest is the training of what it found."""


class Order(msgspec.Struct, frozen=True):
    """What the queue says about one training."""

    run: UUID
    dataset: str
    snapshot: str
    model: str
    version: int
    recipe: Recipe | None
    test_fraction: float
    search: SearchSpec | None = None
    exclude: tuple[str, ...] = ()
    accept_findings: str = ""

    def after_search(self, share: float) -> float:
        """Progress of the whole job when what comes after reading and searching is so far."""
        begun = READ_SHARE + (SEARCH_SHARE if self.recipe is None else 0.0)
        return begun + share * (1 - begun)


class Fitted(msgspec.Struct, frozen=True):
    """One fitted recipe with the rows it saw and those it did not."""

    order: Order
    recipe: Recipe
    loaded: Any
    split: Any
    pipeline: Any
    figures: dict[str, Any]


async def run(task: Task) -> dict[str, Any]:
    """Train one recipe, found by a search if asked; it leaves a validated, signed version.

    Raises:
        DataError: the snapshot is lost, was changed, or is too small for the split.
        FitError: the recipe does not fit the data.
        SearchError: no recipe of the search fits the data.
        ParityError: the export does not answer as the fitted pipeline.
        AppError: the package could not be signed, stored or registered.
    """
    order = msgspec.convert(task.payload, Order)
    loaded, split = read(task, order)
    recipe, found = order.recipe, None
    if recipe is None:
        found = await search(task, order, loaded, split)
        recipe = found.recipe
    fitted = fit_recipe(task, order, recipe, loaded, split)
    built, document, cost_us = package(task, fitted, await contributors(task))
    task.progress(order.after_search(0.96), "registering")
    await register(task, fitted, built, document, cost_us)
    task.note(f"package {built.digest}")
    return {
        "run": str(order.run),
        "model": order.model,
        "version": order.version,
        "package": built.digest,
        "metrics": headline(fitted.figures),
        "search": msgspec.to_builtins(found),
    }


def read(task: Task, order: Order) -> tuple[Any, Any]:
    """The snapshot in memory, and its split."""
    task.progress(0.01, "loading the training libraries")
    from control_plane.training import data

    task.progress(READ_SHARE, "reading the snapshot")
    files = SnapshotFiles(task.order.artifact_store)
    loaded = data.load(files, order.snapshot, order.exclude)
    seed = order.recipe.seed if order.recipe else order.search.seed if order.search else 0
    split = data.split_rows(
        loaded.target,
        len(loaded.matrix),
        order.test_fraction,
        seed,
        stratify=loaded.manifest.task == "classification",
    )
    task.note(f"{len(split.train)} rows to train, {len(split.test)} held out")
    return loaded, split


async def search(task: Task, order: Order, loaded: Any, split: Any) -> Any:
    """The best recipe by cross-validation on the training rows; every trial is kept at once.

    Raises:
        SearchError: every trial failed.
        JobLostError: another worker has the job.
    """
    from control_plane.training.search import Material, Search

    assert order.search is not None
    async with task.pool.connection() as connection:
        past = await store.past_trials(connection, order.run)
    if past:
        task.note(f"going on after {len(past)} trials of an earlier try")
    target = loaded.target
    material = Material(
        loaded.features,
        loaded.matrix[split.train],
        target[split.train] if target is not None else None,
        loaded.manifest.output,
        loaded.manifest.positive,
        order.snapshot,
    )
    looking = Search(order.search, material, past)
    for row in looking.run():
        async with task.transaction() as connection:
            await store.add_trial(connection, order.run, row)
        best = looking.best
        live = {"trials": row["number"] + 1, "metric": order.search.metric} | (
            {"best": best.score, "estimator": best.recipe.estimator} if best else {}
        )
        so_far = READ_SHARE + SEARCH_SHARE * looking.share
        task.progress(so_far, f"trial {row['number'] + 1}", live)
    found = looking.outcome()
    task.note(
        f"best of {found.trials} trials: {found.recipe.estimator} with "
        f"{order.search.metric} {found.score:.4f} by cross-validation"
    )
    return found


def fit_recipe(task: Task, order: Order, recipe: Recipe, loaded: Any, split: Any) -> Fitted:
    """Fit on the training rows, measure on the others."""
    from control_plane.training import fit

    target, manifest = loaded.target, loaded.manifest
    task.progress(order.after_search(0.1), f"fitting {recipe.estimator}")
    started = time.monotonic()
    pipeline, warned = fit.fit(
        recipe,
        loaded.features,
        loaded.matrix[split.train],
        target[split.train] if target is not None else None,
    )
    task.note(f"fitted in {time.monotonic() - started:.2f} s")
    for line in warned:
        task.note(line, "warning")
    task.progress(order.after_search(0.4), "measuring on held-out rows")
    figures = fit.measure(
        pipeline,
        loaded.matrix[split.test],
        target[split.test] if target is not None else None,
        manifest.output,
        manifest.positive,
    )
    shown = {"metrics": headline(figures)}
    task.progress(order.after_search(0.5), "packaging", shown)
    return Fitted(order, recipe, loaded, split, pipeline, figures)


def headline(figures: dict[str, Any]) -> dict[str, float]:
    """The plain numbers among the figures."""
    return {name: value for name, value in figures.items() if isinstance(value, float)}


def lineage_of(fitted: Fitted, trained_by: str) -> dict[str, Any]:
    """Where the version comes from; nothing in it depends on when or where it was trained."""
    order, manifest = fitted.order, fitted.loaded.manifest
    return {
        "dataset": order.dataset,
        "snapshot": order.snapshot,
        "source": manifest.source,
        "licence": manifest.licence,
        "target": manifest.target,
        "run": str(order.run),
        "seed": fitted.recipe.seed,
        "split": {
            "test_fraction": order.test_fraction,
            "stratified": manifest.task == "classification",
            "train_rows": len(fitted.split.train),
            "test_rows": len(fitted.split.test),
        },
        "excluded": sorted({*manifest.excluded, *order.exclude}),
        "protected": sorted(fitted.loaded.protected),
        "accepted_findings": order.accept_findings,
        "trained_by": trained_by,
    }


async def contributors(task: Task) -> tuple[str, ...]:
    """Who worked on it: whoever asked for it and, behind a service account, its owner.

    The manifest carries them to the routers, which refuse the approval of any of them.
    """
    async with task.transaction() as connection:
        owner = await store.find_owner(connection, task.claim.created_by)
    return (task.claim.created_by,) if owner is None else (task.claim.created_by, owner)


def package(task: Task, fitted: Fitted, people: tuple[str, ...]) -> tuple[Any, bytes, float]:
    """Build, sign and publish the package; what was built, its manifest's bytes, and its cost.

    The cost is what the serving engine measures for one row, in microseconds.

    Args:
        task: the job.
        fitted: what was trained.
        people: contributors for the manifest.

    Raises:
        ParityError: the export does not answer as the fitted pipeline.
        KeyFileError: the builder's key cannot be used.
        StoreError: the artifact store cannot be reached.
    """
    from compiler.models.build import build_package
    from compiler.package import MANIFEST, sign_package
    from compiler.signing import KeyPair
    from serving.engine import Engine
    from serving.store import ArtifactStore

    order, loaded, train = fitted.order, fitted.loaded, fitted.split.train
    out = Path(tempfile.mkdtemp(prefix="build-"))
    try:
        built = build_package(
            fitted.pipeline,
            loaded.matrix[train],
            loaded.target[train] if loaded.target is not None else None,
            features=loaded.features,
            output=loaded.manifest.output,
            name=order.model,
            version=order.version,
            recipe=fitted.recipe,
            lineage=lineage_of(fitted, task.claim.created_by),
            contributors=people,
            metrics=fitted.figures,
            out_dir=out,
            positive=loaded.manifest.favourable,
            progress=lambda step, share: task.progress(order.after_search(0.5 + 0.4 * share), step),
        )
        task.progress(order.after_search(0.92), "signing and publishing")
        sign_package(built.path, KeyPair.load(Path(task.order.builder_key)))
        cost_us = Engine.load(built.path, expected_digest=built.digest).cost_us
        task.note(f"one row takes {cost_us:.1f} us")
        ArtifactStore.open(task.order.artifact_store).publish(built.path)
        return built, (built.path / MANIFEST).read_bytes(), cost_us
    finally:
        shutil.rmtree(out, ignore_errors=True)


async def register(task: Task, fitted: Fitted, built: Any, document: bytes, cost_us: float) -> None:
    """Make the version known with its reports, in one transaction that this attempt owns.

    Raises:
        JobLostError: another worker has the job; nothing is written.
    """
    from control_plane.registry import service as registry
    from control_plane.training.report import cost_report, validation_report

    order = fitted.order
    reports = {
        "validation": validation_report(fitted, built),
        "cost": cost_report(built.digest, cost_us),
    }
    async with task.transaction() as connection:
        await registry.register_package(
            connection, order.model, order.version, built.digest, document, order.run
        )
        for name, content in reports.items():
            await registry.add_report(
                connection, order.model, order.version, name,
                media_type=registry.JSON, content=content,
            )  # fmt: skip
        await store.finish_run(
            connection,
            order.run,
            recipe=built.manifest.recipe,
            metrics=built.manifest.metrics,
            parity=built.manifest.parity,
            package=built.digest,
            lineage=built.manifest.lineage,
        )
