"""The ingest of a large upload, as a job."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec

from control_plane.datasets import service
from control_plane.datasets.files import SnapshotFiles
from control_plane.datasets.ingest import ingest
from control_plane.datasets.schemas import Declaration
from control_plane.errors import InvalidError
from control_plane.jobs.task import Task


async def run(task: Task) -> dict[str, Any]:
    """Turn a kept upload into a registered snapshot.

    Raises:
        DataError: the upload is gone or is no table that can be used.
        DeclarationError: the table does not fit the declaration.
    """
    payload = task.payload
    files = SnapshotFiles(task.order.artifact_store)
    upload = files.upload(payload["upload"])
    async with task.pool.connection() as connection:
        dataset = await service.find(connection, payload["dataset"])
    declaration = msgspec.convert(dataset, Declaration, from_attributes=True)
    try:
        with files.incoming() as folder:
            kind = payload["format"]
            done = ingest(upload / f"upload.{kind}", kind, declaration, folder, task.progress)
            files.publish(folder, done.digest)
    except InvalidError:
        shutil.rmtree(upload, ignore_errors=True)  # another try would be refused alike
        raise
    async with task.transaction() as connection:
        answer = await service.register(connection, done, payload["origin"], task.claim.created_by)
    for finding in answer.findings:
        task.note(f"{finding.column}: {finding.message}", "warning")
    shutil.rmtree(upload, ignore_errors=True)
    return {"snapshot": answer.snapshot, "number": answer.number, "rows": answer.rows}
