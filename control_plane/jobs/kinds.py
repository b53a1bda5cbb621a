"""Kinds of work and the code behind each; imported only by the child process that does it."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

from compiler.errors import AppError
from control_plane.jobs.task import Task

Work = Callable[[Task], Awaitable[dict[str, Any]]]
"""Takes the task, answers the result that the job keeps."""

KINDS: dict[str, str] = {
    "ingest": "control_plane.datasets.work:run",
    "import": "control_plane.datasets.imports:run",
    "train": "control_plane.training.train:run",
    "validate": "control_plane.validation.work:run",
}


class UnknownKindError(AppError):
    """This worker does not know this kind of job."""

    code = "job.kind"


def find_work(kind: str, kinds: dict[str, str]) -> Work:
    """Import the code of a kind.

    Raises:
        UnknownKindError: no such kind.
    """
    path = kinds.get(kind)
    if path is None:
        raise UnknownKindError(
            f"expected one of {', '.join(sorted(kinds))}, got {kind!r}",
            hint="a newer version queued it: update this worker",
        )
    module, _, name = path.partition(":")
    work: Work = getattr(importlib.import_module(module), name)
    return work
