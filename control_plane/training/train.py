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


class Order(msgspec.Struct, frozen=True):
    """What the queue says about one training."""

    run: UUID
    dataset: str
    snapshot: str
    model: str
    version: int
    recipe: Recipe
    test_fraction: float
    exclude: tuple[str, ...] = ()
    accept_findings: str = ""


class Fitted(msgspec.Struct, frozen=True):
    """One fitted recipe with the rows it saw and those it did not."""

    order: Order
    loaded: Any
    split: Any
    pipeline: Any
    figures: dict[str, Any]


async def run(task: Task) -> dict[str, Any]:
    """Train one recipe; what it leaves is a validated version with a signed package.

    Raises:
        DataError: the snapshot is lost, was changed, or is too small for the split.
        FitError: the recipe does not fit the data.
        ParityError: the export does not answer as the fitted pipeline.
        AppError: the package could not be signed, stored or registered.
    """
    order = msgspec.convert(task.payload, Order)
    fitted = fit_recipe(task, order)
    built, document = package(task, fitted)
    task.progress(0.96, "registering")
    await register(task, fitted, built, document)
    task.note(f"package {built.digest}")
    return {
        "run": str(order.run),
        "model": order.model,
        "version": order.version,
        "package": built.digest,
        "metrics": headline(fitted.figures),
    }


def fit_recipe(task: Task, order: Order) -> Fitted:
    """Fit on the training rows, measure on the others."""
    task.progress(0.01, "loading the training libraries")
    from control_plane.training import data, fit

    task.progress(0.05, "reading the snapshot")
    files = SnapshotFiles(task.order.artifact_store)
    loaded = data.load(files, order.snapshot, order.exclude)
    manifest = loaded.manifest
    split = data.split_rows(
        loaded.target,
        len(loaded.matrix),
        order.test_fraction,
        order.recipe.seed,
        stratify=manifest.task == "classification",
    )
    target = loaded.target
    task.note(f"{len(split.train)} rows to train, {len(split.test)} held out")
    task.progress(0.1, f"fitting {order.recipe.estimator}")
    started = time.monotonic()
    pipeline, warned = fit.fit(
        order.recipe,
        loaded.features,
        loaded.matrix[split.train],
        target[split.train] if target is not None else None,
    )
    task.note(f"fitted in {time.monotonic() - started:.2f} s")
    for line in warned:
        task.note(line, "warning")
    task.progress(0.4, "measuring on held-out rows")
    figures = fit.measure(
        pipeline,
        loaded.matrix[split.test],
        target[split.test] if target is not None else None,
        manifest.output,
        manifest.positive,
    )
    task.progress(0.5, "packaging", {"metrics": headline(figures)})
    return Fitted(order, loaded, split, pipeline, figures)


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
        "seed": order.recipe.seed,
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


def package(task: Task, fitted: Fitted) -> tuple[Any, bytes]:
    """Build, sign and publish the package; answers what was built and its manifest's bytes.

    Raises:
        ParityError: the export does not answer as the fitted pipeline.
        KeyFileError: the builder's key cannot be used.
        StoreError: the artifact store cannot be reached.
    """
    from compiler.models.build import build_package
    from compiler.package import MANIFEST, sign_package
    from compiler.signing import KeyPair
    from serving.store import ArtifactStore

    order, loaded, train = fitted.order, fitted.loaded, fitted.split.train
    home = Path(task.order.home)
    home.mkdir(parents=True, exist_ok=True)
    out = Path(tempfile.mkdtemp(prefix="build-", dir=home))
    try:
        built = build_package(
            fitted.pipeline,
            loaded.matrix[train],
            loaded.target[train] if loaded.target is not None else None,
            features=loaded.features,
            output=loaded.manifest.output,
            name=order.model,
            version=order.version,
            recipe=order.recipe,
            lineage=lineage_of(fitted, task.claim.created_by),
            contributors=(task.claim.created_by,),
            metrics=fitted.figures,
            out_dir=out,
            positive=loaded.manifest.favourable,
            progress=lambda step, share: task.progress(0.5 + 0.4 * share, step),
        )
        task.progress(0.92, "signing and publishing")
        sign_package(built.path, KeyPair.load(Path(task.order.builder_key)))
        ArtifactStore.open(task.order.artifact_store).publish(built.path)
        return built, (built.path / MANIFEST).read_bytes()
    finally:
        shutil.rmtree(out, ignore_errors=True)


async def register(task: Task, fitted: Fitted, built: Any, document: bytes) -> None:
    """Make the version known with its reports, in one transaction that this attempt owns.

    Raises:
        JobLostError: another worker has the job; nothing is written.
    """
    from control_plane.registry import service as registry
    from control_plane.training.report import validation_report

    order = fitted.order
    report = validation_report(fitted, built)
    async with task.transaction() as connection:
        await registry.register_package(
            connection, order.model, order.version, built.digest, document, order.run
        )
        await registry.add_report(
            connection,
            order.model,
            order.version,
            "validation",
            media_type="application/json",
            content=report,
        )
        await store.finish_run(
            connection,
            order.run,
            recipe=built.manifest.recipe,
            metrics=built.manifest.metrics,
            parity=built.manifest.parity,
            package=built.digest,
            lineage=built.manifest.lineage,
        )
