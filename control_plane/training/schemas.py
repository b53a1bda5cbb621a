"""What a training run is asked, shows and leaves."""

from __future__ import annotations

from datetime import datetime
from typing import Any
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


class NewRun(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to train.

    Attributes:
        dataset: a registered dataset.
        snapshot: digest, number or ``latest``.
        model: name of the model that gets a new version.
        recipe: what to fit.
        test_fraction: share of the rows that training never sees.
        exclude: features to leave out.
        accept_findings: why findings of level error may be ignored.
    """

    dataset: str
    model: str
    recipe: RecipeSpec
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
    recipe: dict[str, Any]
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
