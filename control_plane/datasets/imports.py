"""The import from a PostgreSQL, as a job: one read-only snapshot of the source, copied as CSV.

The source is read in one REPEATABLE READ, READ ONLY transaction, so that rows changed meanwhile
cannot be seen half. Every wait has a limit; a source that hangs ends the job and leaves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from control_plane.datasets import connections, service
from control_plane.datasets.errors import DataError
from control_plane.datasets.files import SnapshotFiles
from control_plane.datasets.ingest import ingest
from control_plane.datasets.schemas import Declaration
from control_plane.datasets.sealing import MasterKey
from control_plane.errors import TooLargeError
from control_plane.jobs.task import Task

CONNECT_S = 10.0


class SourceError(DataError):
    """The source database could not be read."""

    code = "source.unavailable"


async def run(task: Task) -> dict[str, Any]:
    """Import the answer of a query as a snapshot.

    Raises:
        SourceError: the source refuses, hangs or goes away; says which.
        DataError: its rows are no table that can be used.
        SealError: the connection's secret cannot be opened here.
    """
    payload = task.payload
    async with task.pool.connection() as connection:
        dataset = await service.find(connection, payload["dataset"])
        source = await connections.find(connection, payload["connection"])
    key = MasterKey.load(Path(task.order.master_key) if task.order.master_key else None)
    password = key.open(source["name"], source["secret"])
    options = msgspec.convert(source["options"], connections.Options)
    files = SnapshotFiles(task.order.artifact_store)
    with files.incoming() as folder:
        path = folder / "upload.csv"
        task.progress(0.02, f"reading from {options.host}")
        size = await read_source(
            options, password, payload["query"], path, payload["timeout_s"], task
        )
        task.note(f"{size} bytes read from {source['name']}")
        declaration = msgspec.convert(dataset, Declaration, from_attributes=True)
        out = folder / "snapshot"
        out.mkdir()
        done = ingest(
            path, "csv", declaration, out,
            lambda share, step: task.progress(0.4 + 0.6 * share, step),
        )  # fmt: skip
        files.publish(out, done.digest)
    origin = {
        "kind": "postgresql",
        "connection": source["name"],
        "host": options.host,
        "database": options.database,
        "query": payload["query"],
        "query_sha256": hashlib.sha256(payload["query"].encode()).hexdigest(),
        "bytes": size,
    }
    async with task.transaction() as connection:
        answer = await service.register(connection, done, origin, task.claim.created_by)
    for finding in answer.findings:
        task.note(f"{finding.column}: {finding.message}", "warning")
    return {"snapshot": answer.snapshot, "number": answer.number, "rows": answer.rows}


async def read_source(  # noqa: PLR0917 - the facts of one read
    options: connections.Options, password: str, query: str, path: Path, timeout_s: float,
    task: Task,
) -> int:  # fmt: skip
    """Copy the answer of a query into a CSV file; answers its size in bytes.

    Raises:
        SourceError: the source refuses, hangs or goes away.
        TooLargeError: more than an upload may have.
    """
    try:
        async with asyncio.timeout(timeout_s):
            async with asyncio.timeout(CONNECT_S):
                source = await asyncpg.connect(
                    host=options.host,
                    port=options.port,
                    database=options.database,
                    user=options.user,
                    password=password,
                    ssl=options.ssl,
                    server_settings={
                        "application_name": "interlock import",
                        "default_transaction_read_only": "on",
                        "statement_timeout": str(int(timeout_s * 1000)),
                        "DateStyle": "ISO",
                        "TimeZone": "UTC",
                    },
                )
            try:
                return await _copy(source, query, path, task)
            finally:
                source.terminate()
    except TimeoutError:
        raise SourceError(
            f"the source did not answer within {timeout_s:g} s", code="source.timeout",
            hint="narrow the query, or allow more with timeout_s",
        ) from None  # fmt: skip
    except (OSError, asyncpg.InterfaceError) as error:
        raise SourceError(
            f"the source at {options.host}:{options.port} cannot be read: "
            f"{str(error) or type(error).__name__}"
        ) from error
    except asyncpg.PostgresError as error:
        code = "source.query" if (error.sqlstate or "").startswith(("42", "25")) else ""
        raise SourceError(
            f"the source refused: {error.message}", code=code, at=options.host
        ) from error


async def _copy(source: Any, query: str, path: Path, task: Task) -> int:
    size = 0
    with path.open("wb") as file:

        async def take(chunk: bytes) -> None:
            nonlocal size
            size += len(chunk)
            if size > service.MAX_UPLOAD_BYTES:
                raise TooLargeError(f"expected at most {service.MAX_UPLOAD_BYTES} bytes")
            file.write(chunk)
            task.progress(0.2, f"{size >> 20} MiB read")

        async with source.transaction(isolation="repeatable_read", readonly=True):
            # Prepared first: what stands alone as one statement cannot leave the parentheses
            # that COPY puts around it; the line break ends a comment.
            await source.prepare(query)
            await source.copy_from_query(query + "\n", output=take, format="csv", header=True)
    return size
