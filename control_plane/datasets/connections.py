"""Databases to import from: declared once, their secret sealed, never shown again."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from control_plane import adminlog
from control_plane.datasets.errors import DeclarationError
from control_plane.datasets.sealing import MasterKey
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, NotFoundError

_SQL = sql.load("control_plane.datasets")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a PostgreSQL is and as whom to come; ``ssl`` as libpq names it."""

    host: str
    database: str
    user: str
    port: int = 5432
    ssl: Literal["disable", "prefer", "require", "verify-full"] = "prefer"


class NewConnection(Struct, frozen=True, forbid_unknown_fields=True):
    """A connection with its secret; the secret goes in and never comes out."""

    name: str
    host: str
    database: str
    user: str
    password: str
    port: int = 5432
    ssl: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    kind: Literal["postgresql"] = "postgresql"


class ConnectionRow(Struct, frozen=True):
    """A connection as it is shown."""

    name: str
    kind: str
    options: Options
    key_id: str
    created_by: str
    created_at: datetime


class NewImport(Struct, frozen=True, forbid_unknown_fields=True):
    """What to import: one query that reads.

    Attributes:
        connection: name of a connection.
        query: a SELECT; its columns become the snapshot's.
        timeout_s: longest time for the whole read.
    """

    connection: str
    query: str
    timeout_s: float = 600.0


async def add(
    connection: Connection, given: NewConnection, master_key: Path | None, user: str
) -> ConnectionRow:
    """Keep a connection.

    Raises:
        SealError: there is no usable master key.
        DeclarationError: not a name.
        ConflictError: the name is taken.
    """
    if not _NAME.match(given.name):
        raise DeclarationError(
            f"expected a name of lower-case letters, digits, _ and -, got {given.name[:80]!r}",
            code="name.invalid",
            at="name",
        )
    key = await asyncio.to_thread(MasterKey.load, master_key)
    options = Options(given.host, given.database, given.user, given.port, given.ssl)
    made = await connection.fetchval(
        _SQL["add_connection"], given.name, given.kind, msgspec.to_builtins(options),
        key.seal(given.name, given.password), key.id, user,
    )  # fmt: skip
    if made is None:
        raise ConflictError(
            f"there is a connection {given.name!r} already", code="connection.exists", at="name"
        )
    await adminlog.note(connection, user, "connection.add", given.name, host=given.host)
    return next(row for row in await listing(connection) if row.name == given.name)


async def listing(connection: Connection) -> list[ConnectionRow]:
    """Every connection by name, without secrets."""
    rows = await connection.fetch(_SQL["connections"])
    return [msgspec.convert(dict(row), ConnectionRow) for row in rows]


async def find(connection: Connection, name: str) -> Any:
    """Row of a connection, the sealed secret included.

    Raises:
        NotFoundError: there is none.
    """
    row = await connection.fetchrow(_SQL["connection"], name)
    if row is None:
        raise NotFoundError(f"there is no connection {name[:80]!r}", code="connection.unknown")
    return row


async def drop(connection: Connection, name: str, user: str) -> None:
    """Forget a connection and its secret.

    Raises:
        NotFoundError: there is none.
    """
    if await connection.fetchval(_SQL["drop_connection"], name) is None:
        raise NotFoundError(f"there is no connection {name[:80]!r}", code="connection.unknown")
    await adminlog.note(connection, user, "connection.drop", name)
