"""What a job looks like to people, to the worker and to the code that does the work."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from compiler.errors import Problem

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})

Level = Literal["info", "warning", "error"]


class Job(Struct, frozen=True):
    """One piece of work, as shown.

    Attributes:
        progress: share of the work done in the present attempt, 0 to 1.
        step: what it is doing, in a few words.
        live: numbers worth watching while it runs, such as the best score so far.
        error: why it failed.
    """

    id: UUID
    kind: str
    payload: dict[str, Any]
    state: JobState
    attempts: int
    max_attempts: int
    worker: str | None
    cancel_requested: bool
    progress: float
    step: str
    live: dict[str, Any] | None
    result: dict[str, Any] | None
    error: Problem | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Attempt(Struct, frozen=True):
    """One try of a job, and how it ended."""

    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    reason: str | None


class LogLine(Struct, frozen=True):
    """One line that the work wrote."""

    seq: int
    attempt: int
    at: datetime
    level: Level
    line: str


class JobDetail(Struct, frozen=True):
    """A job with its tries and the end of its log."""

    job: Job
    attempts: list[Attempt]
    log: list[LogLine]


class Claim(Struct, frozen=True):
    """A job in the hands of one worker; (worker, attempt) is the right to write to it."""

    id: UUID
    kind: str
    payload: dict[str, Any]
    attempt: int
    max_attempts: int
    created_by: str
    worker: str


class Order(Struct, frozen=True):
    """What the worker hands to the child process that does the work, on its standard input.

    Attributes:
        database_url: for the records that the work itself makes.
        artifact_store: where packages and snapshots live.
        home: folder for temporary files.
        builder_key: file of the key that signs packages.
        master_key: file of the key that opens connection secrets; empty without one.
    """

    claim: Claim
    database_url: str
    artifact_store: str
    home: str
    builder_key: str
    master_key: str = ""


class Progress(Struct, frozen=True, tag="progress"):
    """The work moved on."""

    fraction: float
    step: str
    live: dict[str, Any] | None = None


class Note(Struct, frozen=True, tag="note"):
    """The work has something to say."""

    line: str
    level: Level = "info"


class Finished(Struct, frozen=True, tag="finished"):
    """The work is done."""

    result: dict[str, Any]


class Failed(Struct, frozen=True, tag="failed"):
    """The work ended without a result.

    Attributes:
        retry: whether another try could end differently (a lost connection, say).
    """

    problem: Problem
    retry: bool = False


Event = Progress | Note | Finished | Failed
"""What a child process writes on its standard output, one JSON object per line."""
