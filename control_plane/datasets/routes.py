"""Datasets over HTTP: declare, upload, read."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, HeaderParameter, JSONBody

from control_plane.datasets import connections, service, store
from control_plane.datasets.connections import ConnectionRow, NewConnection, NewImport
from control_plane.datasets.errors import DataError
from control_plane.datasets.files import SnapshotFiles
from control_plane.datasets.schemas import (
    Dataset,
    Declaration,
    Snapshot,
    SnapshotAnswer,
    SnapshotRow,
)
from control_plane.deps import Pool, Settings, User, require
from control_plane.paging import Cursor, Limit, Page, page_of, read_cursor

FORMATS = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}


@post("/datasets", guards=[require("datasets.write")])
async def declare_dataset(pool: Pool, user: User, data: JSONBody[Declaration]) -> Dataset:
    """Register a dataset: what is learnt, what is protected, where it comes from."""
    async with pool.transaction() as connection:
        return await service.declare(connection, data, user.email)


@get("/datasets", guards=[require("datasets.read")])
async def list_datasets(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[Dataset]:
    """Datasets by name."""
    after = read_cursor(cursor, str)[0] if cursor else ""
    async with pool.connection() as connection:
        rows = await store.many_datasets(connection, after, limit + 1)
    return page_of(
        rows, limit, lambda row: msgspec.convert(dict(row), Dataset), lambda row: (row["name"],)
    )


@get("/datasets/{name:str}", guards=[require("datasets.read")])
async def read_dataset(pool: Pool, name: FromPath[str]) -> Dataset:
    """One dataset."""
    async with pool.connection() as connection:
        return await service.find(connection, name)


@post(
    "/datasets/{name:str}/snapshots",
    guards=[require("datasets.write")],
    opt={"streams": True},
    request_max_body_size=service.MAX_UPLOAD_BYTES,
)
async def upload_snapshot(
    *,
    request: Request[Any, Any, Any],
    pool: Pool,
    user: User,
    settings: Settings,
    name: FromPath[str],
    content_type: Annotated[str, HeaderParameter(name="content-type")] = "",
) -> Response[Any]:
    """Upload a table (`text/csv` or Parquet) as the body.

    Small tables answer 201 with the snapshot (200 when the same content is known), large ones 202
    with a job to watch.
    """
    word = content_type.partition(";")[0].strip().lower()
    kind = FORMATS.get(word)
    if kind is None:
        raise DataError(
            f"expected one of {', '.join(FORMATS)}, got {word or 'no content type'}",
            code="data.format",
            at="Content-Type",
        )
    files = SnapshotFiles(settings.artifact_store)
    answer = await service.upload(
        pool, files, dataset=name, kind=kind, chunks=request.stream(), user=user.email
    )
    if isinstance(answer, SnapshotAnswer):
        return Response(answer, status_code=201 if answer.new else 200)
    return Response(answer, status_code=202)


@get("/datasets/{name:str}/snapshots", guards=[require("datasets.read")])
async def list_snapshots(
    pool: Pool, name: FromPath[str], cursor: Cursor = "", limit: Limit = 100
) -> Page[SnapshotRow]:
    """A dataset's snapshots, newest first."""
    last = 2**31 - 1
    below = min(max(0, read_cursor(cursor, int)[0]), last) if cursor else last
    async with pool.connection() as connection:
        await service.find(connection, name)
        rows = await store.many_snapshots(connection, name, below, limit + 1)
    return page_of(
        rows,
        limit,
        lambda row: msgspec.convert(dict(row), SnapshotRow),
        lambda row: (row["number"],),
    )


@get("/datasets/{name:str}/snapshots/{which:str}", guards=[require("datasets.read")])
async def read_snapshot(pool: Pool, name: FromPath[str], which: FromPath[str]) -> Snapshot:
    """A snapshot with schema, profile and findings, by digest, number or `latest`."""
    async with pool.connection() as connection:
        return await service.find_snapshot(connection, name, which)


@post("/connections", guards=[require("datasets.write")])
async def add_connection(
    pool: Pool, user: User, settings: Settings, data: JSONBody[NewConnection]
) -> ConnectionRow:
    """Keep a database to import from; its password is sealed and never shown again."""
    async with pool.transaction() as connection:
        return await connections.add(connection, data, settings.master_key, user.email)


@get("/connections", guards=[require("datasets.read")])
async def list_connections(pool: Pool) -> list[ConnectionRow]:
    """Databases to import from, without their secrets."""
    async with pool.connection() as connection:
        return await connections.listing(connection)


@delete("/connections/{name:str}", guards=[require("datasets.write")])
async def drop_connection(pool: Pool, user: User, name: FromPath[str]) -> None:
    """Forget a database and its password."""
    async with pool.transaction() as connection:
        await connections.drop(connection, name, user.email)


@post("/datasets/{name:str}/imports", guards=[require("datasets.write")], status_code=202)
async def start_import(
    pool: Pool, user: User, name: FromPath[str], data: JSONBody[NewImport]
) -> dict[str, str]:
    """Import the answer of a query from a database as a snapshot; answers the job to watch."""
    async with pool.transaction() as connection:
        return {"job": str(await service.start_import(connection, name, data, user.email))}


ROUTE_HANDLERS = [
    add_connection,
    list_connections,
    drop_connection,
    start_import,
    declare_dataset,
    list_datasets,
    read_dataset,
    upload_snapshot,
    list_snapshots,
    read_snapshot,
]
