"""What a version is compared with: the one that serves now, on the same rows."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.validation import reports
from serving.engine import Engine
from serving.store import ArtifactStore

BETTER_HIGH = ("roc_auc", "accuracy")
BETTER_LOW = ("log_loss", "rmse")


class Baseline(msgspec.Struct, frozen=True):
    """Figures that the version at hand is held against.

    Attributes:
        which: in words, for the report.
        version: of the same model; None when nothing of it serves and its own training is meant.
        metrics: by name; empty when the baseline cannot be scored on these rows.
    """

    which: str
    version: int | None
    metrics: dict[str, Any]


def baseline_of(
    subject: reports.Subject, package: str | None, artifact_store: str, chunk: int
) -> Baseline:
    """The deployed version of the model on the same rows, else the version's own training.

    Args:
        subject: the version at hand and the rows.
        package: digest of the version that serves now, None when none does.
        artifact_store: where packages are.
        chunk: rows scored at once.

    Raises:
        PackageError, StoreError: the deployed package is lost or was changed.
    """
    model = subject.model
    if package is None:
        return Baseline("rows held out when it was trained", None, subject.trained_metrics())
    folder = ArtifactStore.open(artifact_store).fetch(package)
    deployed = Engine.load(folder, expected_digest=package)
    which = f"version {deployed.version}, which serves now"
    lacking = sorted(set(deployed.encoding.features()) - set(subject.data.features))
    if lacking or deployed.output != model.output:
        why = f"the rows lack {', '.join(lacking)}" if lacking else "it answers something else"
        return Baseline(f"{which}, is not comparable: {why}", deployed.version, {})
    other = reports.Subject(
        model=deployed,
        folder=folder,
        data=subject.data,
        rows=subject.rows,
        which=which,
        reference={},
        threshold=subject.threshold,
    )
    other.score(lambda _: None, chunk)
    return Baseline(which, deployed.version, reports.predictions(other)["metrics"])


def changes(now: dict[str, Any], before: dict[str, Any]) -> dict[str, float]:
    """By how much each figure got worse, negative where it got better.

    >>> changes({"roc_auc": 0.5, "log_loss": 0.75}, {"roc_auc": 0.75, "log_loss": 0.5})
    {'roc_auc_drop': 0.25, 'log_loss_rise': 0.25}
    """
    found = {}
    for names, word, sign in ((BETTER_HIGH, "drop", -1.0), (BETTER_LOW, "rise", 1.0)):
        for name in names:
            if isinstance(now.get(name), float) and isinstance(before.get(name), float):
                found[f"{name}_{word}"] = sign * (now[name] - before[name])
    return found
