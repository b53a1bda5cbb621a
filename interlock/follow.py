"""Watching something that takes a while: one line that moves for people, silence for programs."""

from __future__ import annotations

import time
from typing import Any

import click

from compiler.errors import AppError
from interlock.remote import Remote

EVERY_S = 0.4
ENDED = ("succeeded", "failed", "cancelled")


class EndedBadlyError(AppError):
    """It ended without a result."""

    code = "job.failed"


def follow_path(remote: Remote, path: str, name: str) -> dict[str, Any]:
    """Ask for a run, validation or job until it has ended well.

    Args:
        remote: whom to ask.
        path: of the thing; its answer has ``state``, ``progress``, ``step`` and ``error``.
        name: shown before the progress.

    Raises:
        EndedBadlyError: it failed or was cancelled; with its own reason.
    """
    last = ""
    while True:
        answer: dict[str, Any] = remote.call("GET", path)
        found: dict[str, Any] = answer.get("job", answer) if "attempts" in answer else answer
        line = _line(name, found)
        if not remote.as_json and line != last:
            click.echo(line, err=True)
            last = line
        if found["state"] in ENDED:
            break
        time.sleep(EVERY_S)
    if found["state"] != "succeeded":
        error = found.get("error") or {}
        raise EndedBadlyError(
            f"{name} {found['state']}" + (f": {error['message']}" if error else ""),
            code=error.get("code", "") or "job.cancelled",
            at=error.get("at", ""),
            hint=error.get("hint", ""),
        )
    return found


def follow_job(remote: Remote, job: str) -> dict[str, Any]:
    """Follow a job to its end.

    Raises:
        EndedBadlyError: it failed or was cancelled.
    """
    return follow_path(remote, f"/jobs/{job}", "job")


def _line(name: str, found: dict[str, Any]) -> str:
    live = found.get("live") or {}
    best = f", best {live['best']:.4f} ({live.get('estimator', '')})" if "best" in live else ""
    step = found["step"] or found["state"]
    return f"{name}: {found['progress']:4.0%} {step}{best}"
