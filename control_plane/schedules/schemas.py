"""What the routes of schedules take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Every = Annotated[int, Meta(ge=60, le=31_622_400)]
Kind = Literal["import", "validate"]


class NewSchedule(Struct, forbid_unknown_fields=True):
    """A recurring job.

    Attributes:
        name: of the schedule.
        kind: ``import`` reads a source into a dataset again, ``validate`` validates a version.
        target: the dataset, or ``MODEL@VERSION``.
        every_s: seconds between two runs.
        request: of an import ``connection``, ``query``, ``timeout_s``; of a validation
            ``dataset``, ``snapshot`` (``latest`` for whatever was imported last), ``threshold``.
        start: first run; now when it is not given.
    """

    name: Name
    kind: Kind
    target: Annotated[str, Meta(min_length=1, max_length=200)]
    every_s: Every
    request: dict[str, Any] = {}
    start: datetime | None = None


class Schedule(Struct):
    """A schedule and its last run."""

    name: str
    kind: str
    target: str
    request: dict[str, Any]
    every_s: int
    next_at: datetime
    paused: bool
    created_by: str
    created_at: datetime
    last_at: datetime | None
    last_job: UUID | None
    last_error: str | None
    """Why the last run was not queued."""
