"""Decisions of streams and bulk jobs about a subject, read out of their columnar parts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from control_plane import adminlog
from control_plane.audit import store
from control_plane.audit.schemas import PartRow, PartRows
from control_plane.audit.service import aware, find_subject
from control_plane.db import sql
from control_plane.db.pool import Pool
from control_plane.identity.user import User
from control_plane.paging import check_limit, read_cursor, write_cursor
from control_plane.settings import ControlSettings
from serving.audit.part_store import read_part
from serving.audit.parts import may_hold, read_summary, rows_of
from serving.blobs import BlobStore
from serving.store import StoreError

_SQL = sql.load("control_plane.audit")
NOTHING = UUID(int=0)
EVER = datetime(9999, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
Span = tuple[datetime | None, datetime | None]


async def find(  # noqa: PLR0917 - the parameters of the route
    pool: Pool,
    settings: ControlSettings,
    user: User,
    subject: str,
    endpoint: str | None,
    span: Span,
    cursor: str,
    limit: int,
) -> PartRows:
    """Rows about a subject in the next ``limit`` parts, oldest first.

    Parts whose filter rules the subject out are not read.

    Raises:
        UnavailableError: this process does not have the key of the references.
        PartError: a part is not what its record says.
    """
    check_limit(limit)
    reference = await find_subject(settings, subject)
    after = read_cursor(cursor, UUID)[0] if cursor else NOTHING
    since, until = aware(span[0]) or LONG_AGO, aware(span[1]) or EVER
    async with pool.transaction() as connection:
        if after != NOTHING:
            since = max(since, store.time_of(after) - timedelta(seconds=1))
        records = await connection.fetch(_SQL["parts"], endpoint, since, until, after, limit + 1)
        await adminlog.note(
            connection, user.email, "audit.parts", subject_ref=reference, endpoint=endpoint
        )
    page = records[:limit]
    following = write_cursor(page[-1]["id"]) if len(records) > limit else None
    return await asyncio.to_thread(_read, settings, page, reference, following)


def _read(
    settings: ControlSettings, records: Sequence[Any], reference: str, following: str | None
) -> PartRows:
    blobs = BlobStore.open(settings.artifact_store)
    found: list[PartRow] = []
    missing: list[str] = []
    read = 0
    for record in records:
        if not may_hold(read_summary(record["features"]), reference):
            continue
        with tempfile.TemporaryDirectory(prefix="il-part-") as folder:
            try:
                table = read_part(blobs, record["part"], record["rows"], Path(folder))
            except StoreError as error:
                if error.code != "store.missing":
                    raise
                missing.append(record["part"])
                continue
            read += 1
            found += [_row(record, row) for row in rows_of(table, reference)]
    return PartRows(found, read, missing, following)


def _row(record: Any, row: dict[str, Any]) -> PartRow:
    values = {
        name: store.decode(value) if isinstance(value, bytes) else value
        for name, value in row.items()
    }
    if isinstance(row.get("id"), bytes):
        values["id"] = str(UUID(bytes=row["id"]))
    plain = msgspec.to_builtins(values, builtin_types=(datetime,))
    return PartRow(
        record["id"], record["part"], record["received_at"], record["endpoint"],
        record["release"], plain,
    )  # fmt: skip
