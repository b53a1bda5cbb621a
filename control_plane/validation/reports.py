"""The four reports as data: predictions, fairness, drift, explanations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compiler.models.matrix import from_matrix
from control_plane.datasets.files import SnapshotFiles
from control_plane.training import metrics
from control_plane.training.data import TrainingData, load, split_rows
from control_plane.validation import drift, fairness, proxies
from serving.engine import Engine, LoadedModel
from serving.explain.explainer import load_explainer
from serving.explain.reasons import in_words
from serving.store import ArtifactStore

EXPLAINED = 200
"""Rows of the global explanation, spread evenly over the data."""
SHOWN = 5
"""Rows explained one by one."""

Progress = Callable[[float], None]


class Subject:
    """A model, the rows it is judged on, and the rows it was trained on."""

    def __init__(
        self,
        *,
        model: LoadedModel,
        folder: Path,
        data: TrainingData,
        rows: NDArray[np.int64],
        which: str,
        reference: dict[str, NDArray[Any]],
        threshold: float | None,
    ) -> None:
        self.model = model
        self.folder = folder
        self.data = data
        self.rows = rows
        self.which = which
        self.reference = reference
        self.threshold = threshold
        columns = from_matrix(data.matrix[rows], data.features)
        self.columns: dict[str, NDArray[Any]] = {
            name: columns[name] for name in model.encoding.features()
        }
        self.target = data.target[rows] if data.target is not None else None
        self.positive = data.manifest.positive or (model.output.classes or ("",))[-1]
        self.favourable = data.manifest.favourable or (model.output.classes or ("",))[-1]
        self.output: NDArray[np.float64] = np.empty(0)

    def score(self, progress: Progress, chunk: int) -> None:
        """Batch inference over all rows, chunk by chunk; fills :attr:`output`.

        Shape (rows, classes) of probabilities, or (rows,) of values or distances.
        """
        self.output = score_all(self.model, self.columns, len(self.rows), progress, chunk)

    @property
    def answer(self) -> NDArray[np.bool_]:
        """Whether each row gets the favourable answer."""
        place = self.model.output.classes.index(self.favourable)
        if self.threshold is not None:
            return np.asarray(self.output[:, place] >= self.threshold)
        return np.asarray(np.argmax(self.output, axis=1) == place)

    def trained_metrics(self) -> dict[str, Any]:
        """The held-out figures that the version brought from its training."""
        manifest = msgspec.json.decode((self.folder / "manifest.json").read_bytes())
        return dict(manifest["metrics"])

    def one_score(self, output: NDArray[np.float64]) -> NDArray[np.float64]:
        """The one number per row whose drift is watched."""
        if output.ndim == 1:
            return output
        return output[:, self.model.output.classes.index(self.positive)]


def score_all(
    model: LoadedModel,
    columns: dict[str, NDArray[Any]],
    rows: int,
    progress: Progress,
    chunk: int,
) -> NDArray[np.float64]:
    """What the served model answers for every row."""
    parts = []
    for start in range(0, rows, chunk):
        end = min(rows, start + chunk)
        answers = model.score_columns({n: c[start:end] for n, c in columns.items()}, end - start)
        for part in (answers.probabilities, answers.values, answers.distances):
            if part is not None:
                parts.append(part.astype(np.float64))
                break
        progress(end / rows)
    return np.concatenate(parts)


def open_subject(files: SnapshotFiles, artifact_store: str, order: Any) -> Subject:
    """The verified package, the rows at hand, and the training rows it came from.

    Raises:
        PackageError, StoreError, DataError: something is lost or was changed.
    """
    folder = ArtifactStore.open(artifact_store).fetch(order.package)
    model = Engine.load(folder, expected_digest=order.package)
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    lineage: dict[str, Any] = manifest["lineage"]
    trained = None
    if "snapshot" in lineage and "split" in lineage:
        trained = load(files, lineage["snapshot"])
    data = trained if trained and lineage["snapshot"] == order.snapshot else None
    data = data or load(files, order.snapshot)
    rows = np.arange(len(data.matrix))
    which = f"all rows of snapshot {order.snapshot}"
    reference: dict[str, NDArray[Any]] = {}
    if trained is not None:
        split = split_rows(
            trained.target,
            len(trained.matrix),
            lineage["split"]["test_fraction"],
            lineage["seed"],
            stratify=lineage["split"]["stratified"],
        )
        columns = from_matrix(trained.matrix[split.train], trained.features)
        reference = {name: columns[name] for name in model.encoding.features()}
        if data is trained:
            rows, which = split.test, "rows of the training snapshot that training never saw"
    return Subject(
        model=model,
        folder=folder,
        data=data,
        rows=rows,
        which=which,
        reference=reference,
        threshold=order.options.get("threshold"),
    )


def predictions(subject: Subject) -> dict[str, Any]:
    """Figures with intervals, confusion, calibration, curves or residuals."""
    output, model = subject.output, subject.model.output
    if model.task == "classification" and subject.target is not None:
        place = model.classes.index(subject.positive)
        answer = subject.target == subject.positive
        score = output[:, place]
        return {
            "metrics": metrics.classification(
                subject.target, output, model.classes, subject.positive
            ),
            "calibration": metrics.calibration(score, answer),
            "roc": metrics.roc_points(score, answer),
            "precision_recall": metrics.precision_recall_points(score, answer),
            "histogram": histogram(score, 0.0, 1.0),
        }
    if model.task == "regression" and subject.target is not None:
        residual = output - subject.target
        bound = float(np.abs(residual).max()) or 1.0
        return {
            "metrics": metrics.regression(subject.target, output),
            "residuals": histogram(residual, -bound, bound),
        }
    return {
        "metrics": {"rows": len(output)},
        "histogram": histogram(output, 0.0, float(output.max()) or 1.0),
    }


def histogram(values: NDArray[np.float64], low: float, high: float) -> dict[str, Any]:
    """Counts over 20 equal bins."""
    counts, edges = np.histogram(np.clip(values, low, high), bins=20, range=(low, high))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def fairness_of(subject: Subject) -> dict[str, Any]:
    """Favourable answers by group of each protected attribute."""
    if subject.model.output.task != "classification":
        return {"attributes": [], "note": "rates of favourable answers need a classification"}
    answer = subject.answer
    truth = None if subject.target is None else subject.target == subject.favourable
    protected = {name: values[subject.rows] for name, values in subject.data.protected.items()}
    score = subject.output[:, subject.model.output.classes.index(subject.favourable)]
    found = [
        fairness.attribute(name, values, answer, truth, score) for name, values in protected.items()
    ]
    return {
        "favourable": subject.favourable,
        "rule": "most probable class" if subject.threshold is None else
        f"probability of {subject.favourable} at least {subject.threshold}",
        "attributes": msgspec.to_builtins(found),
        "intersections": msgspec.to_builtins(
            fairness.intersections(protected, answer, truth, score)
        ),
        "proxies": msgspec.to_builtins(proxies.screen(protected, subject.columns)),
        "note": "a screen for people to look at, not a verdict",
    }  # fmt: skip


def drift_of(subject: Subject) -> dict[str, Any]:
    """Each feature and the score against the training rows."""
    if not subject.reference:
        return {"features": [], "note": "the version does not say what it was trained on"}
    rows = len(next(iter(subject.reference.values())))
    scored = score_all(subject.model, subject.reference, rows, lambda _: None, 65_536)
    reference = {n: _plain(c) for n, c in subject.reference.items()}
    current = {n: _plain(c) for n, c in subject.columns.items()}
    reference["score"] = subject.one_score(scored)
    current["score"] = subject.one_score(subject.output)
    return {
        "features": msgspec.to_builtins(drift.compare(reference, current)),
        "bands": {"psi": [drift.PSI_WATCH, drift.PSI_ALERT], "ks": drift.KS_ALERT,
                  "js": [drift.JS_WATCH, drift.JS_ALERT], "alpha": drift.ALPHA},
    }  # fmt: skip


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def explanations(subject: Subject, progress: Progress) -> dict[str, Any]:
    """What moves the model over all, and a few rows one by one."""
    explainer = load_explainer(subject.folder, expected_digest=subject.model.digest)
    count = min(EXPLAINED, len(subject.rows))
    chosen = np.unique(np.linspace(0, len(subject.rows) - 1, count).astype(int))
    total: dict[str, float] = {}
    worst, mismatched = 0.0, 0
    shown: list[dict[str, Any]] = []
    for place, row in enumerate(chosen):
        values = {name: _value(column[row]) for name, column in subject.columns.items()}
        told = explainer.explain(values)
        worst = max(worst, told.residual)
        mismatched += told.state != "ok"
        for name, amount in told.phi.items():
            total[name] = total.get(name, 0.0) + abs(amount)
        if place % max(1, len(chosen) // SHOWN) == 0 and len(shown) < SHOWN:
            reasons = in_words(told, values, subject.model.features, adverse=False)
            shown.append(
                {"row": int(subject.rows[row]), "base": told.base, "output": told.output,
                 "phi": told.phi, "reasons": list(reasons)}
            )  # fmt: skip
        progress((place + 1) / len(chosen))
    ranked = sorted(total.items(), key=lambda item: -item[1])
    return {
        "method": explainer.method,
        "space": explainer.space,
        "target": explainer.target,
        "rows": len(chosen),
        "largest_residual": worst,
        "mismatched": mismatched,
        "global": [{"feature": n, "mean_abs": v / len(chosen)} for n, v in ranked],
        "local": shown,
    }


def _value(value: Any) -> Any:
    if isinstance(value, np.floating):
        return None if np.isnan(value) else float(value)
    return value


def figures(documents: dict[str, Any]) -> dict[str, float | None]:
    """The numbers that gates compare, by name."""
    found: dict[str, float | None] = {
        name: value
        for name, value in documents["predictions"]["metrics"].items()
        if isinstance(value, float)
    }
    judged = [f for f in documents["drift"]["features"] if f["status"] != "insufficient data"]
    found["score_psi"] = next((f["psi"] for f in judged if f["feature"] == "score"), None)
    others = [f["psi"] for f in judged if f["feature"] != "score"]
    found["feature_psi"] = max(others) if others else None
    airs = [a["lowest_air"] for a in documents["fairness"]["attributes"]]
    known = [air for air in airs if air is not None]
    found["air"] = min(known) if known else None
    return found
