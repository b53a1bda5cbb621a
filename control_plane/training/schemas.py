"""What a training run is asked, shows and leaves."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from compiler.errors import Problem
from compiler.models.recipe import Preprocessing
from control_plane.jobs.schemas import JobState


class RecipeSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What to fit; the task is the dataset's."""

    estimator: str
    params: dict[str, Any] = {}
    preprocessing: Preprocessing = Preprocessing()
    seed: int = 0


class SearchSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A search for the best recipe.

    Attributes:
        estimators: words of the allow-list to choose from; empty for the task's usual ones.
        trials: at most this many recipes are tried.
        seconds: no recipe is begun after this time; counted over all tries of the job.
        folds: of the cross-validation.
        metric: what is maximised; default by task.
        seed: seed of sampler, folds and estimators.
    """

    estimators: tuple[str, ...] = ()
    trials: int = 40
    seconds: float = 60.0
    folds: int = 5
    metric: Literal["roc_auc", "neg_log_loss", "neg_rmse", "r2", "silhouette"] | None = None
    seed: int = 0


class Trial(Struct, frozen=True):
    """One recipe that a search tried.

    Attributes:
        score: mean over the folds of the maximised metric.
        metrics: scores by fold, their deviation, and a 95% interval of the mean.
    """

    number: int
    recipe: dict[str, Any]
    state: Literal["complete", "pruned", "failed"]
    score: float | None
    metrics: dict[str, Any] | None
    duration_ms: float
    libraries: dict[str, str]
    snapshot: str
    seed: int
    error: str | None
    created_at: datetime


class NewRun(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to train.

    Attributes:
        dataset: a registered dataset.
        snapshot: digest, number or ``latest``.
        model: name of the model that gets a new version.
        recipe: what to fit; or else
        search: how to find what to fit.
        test_fraction: share of the rows that training never sees.
        exclude: features to leave out.
        accept_findings: why findings of level error may be ignored.
    """

    dataset: str
    model: str
    recipe: RecipeSpec | None = None
    search: SearchSpec | None = None
    snapshot: str = "latest"
    test_fraction: float = 0.25
    exclude: tuple[str, ...] = ()
    accept_findings: str = ""


class RunStarted(Struct, frozen=True):
    """Where to watch a run that was just queued."""

    id: UUID
    job: UUID
    model: str
    version: int
    state: JobState = "queued"


class Run(Struct, frozen=True):
    """A run with the state of its job.

    Attributes:
        progress: 0 to 1.
        step: what it is doing.
        live: numbers worth watching while it runs.
        metrics: of held-out rows, when done.
        parity: the report of the export's gate, when done.
        package: digest, when done.
    """

    id: UUID
    job: UUID
    dataset: str
    snapshot: str
    model: str
    version: int | None
    recipe: dict[str, Any] | None
    test_fraction: float
    search: dict[str, Any] | None
    state: JobState
    progress: float
    step: str
    live: dict[str, Any] | None
    metrics: dict[str, Any] | None
    parity: dict[str, Any] | None
    package: str | None
    lineage: dict[str, Any] | None
    error: Problem | None
    created_by: str
    created_at: datetime
    finished_at: datetime | None
