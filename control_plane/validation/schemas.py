"""What a validation is asked, shows and leaves."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from compiler.errors import Problem
from control_plane.jobs.schemas import JobState


class Gates(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Limits that a version must keep; only those that are set count.

    Attributes:
        min_roc_auc: of the positive class.
        min_accuracy: share of right answers.
        max_log_loss: in nats.
        max_rmse: of a regression.
        max_score_psi: drift of the score against the training rows.
        max_feature_psi: drift of any feature that has enough rows.
        min_air: lowest adverse impact ratio of any protected attribute.
        max_cost_us: what one row takes, measured by the serving engine.
        max_roc_auc_drop, max_accuracy_drop, max_log_loss_rise, max_rmse_rise: worse than the
            baseline by at most this: the model's version in service on the same rows, else the
            version's own training.
    """

    min_roc_auc: float | None = None
    min_accuracy: float | None = None
    max_log_loss: float | None = None
    max_rmse: float | None = None
    max_score_psi: float | None = None
    max_feature_psi: float | None = None
    min_air: float | None = None
    max_cost_us: float | None = None
    max_roc_auc_drop: float | None = None
    max_accuracy_drop: float | None = None
    max_log_loss_rise: float | None = None
    max_rmse_rise: float | None = None


class GateResult(Struct, frozen=True):
    """One gate and how it came out; a figure that does not exist does not hold it."""

    gate: str
    limit: float
    value: float | None
    held: bool


class NewValidation(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to validate.

    Attributes:
        dataset: a registered dataset; default the one the version was trained on.
        snapshot: digest, number or ``latest``; default the training snapshot, of which only the
            held-out rows are used.
        threshold: least probability of the favourable class that counts as a favourable answer;
            default the most probable class decides.
    """

    model: str
    version: int
    dataset: str | None = None
    snapshot: str | None = None
    threshold: float | None = None


class Validation(Struct, frozen=True):
    """A validation with the state of its job."""

    id: UUID
    job: UUID
    model: str
    version: int
    number: int
    package: str
    dataset: str
    snapshot: str
    state: JobState
    progress: float
    step: str
    summary: dict[str, Any] | None
    gates: list[GateResult] | None
    breached: bool | None
    error: Problem | None
    created_by: str
    created_at: datetime
    finished_at: datetime | None


class ReportRow(Struct, frozen=True):
    """A report of a validation."""

    name: str
    media_type: str
    digest: str
    bytes: int


def judge(gates: Gates, figures: dict[str, float | None]) -> list[GateResult]:
    """Every gate that is set, against the figures.

    >>> judge(Gates(min_roc_auc=0.7, max_score_psi=0.25), {"roc_auc": 0.8, "score_psi": 0.3})
    [GateResult(gate='min_roc_auc', limit=0.7, value=0.8, held=True), \
GateResult(gate='max_score_psi', limit=0.25, value=0.3, held=False)]
    """
    results = []
    for gate in Gates.__struct_fields__:
        limit = getattr(gates, gate)
        if limit is None:
            continue
        bound, _, name = gate.partition("_")
        value = figures.get(name)
        held = value is not None and (value >= limit if bound == "min" else value <= limit)
        results.append(GateResult(gate, limit, value, held))
    return results
