"""Numbered SQL migrations: each in one transaction, under one lock, with remembered checksums.

A migration that was applied is never edited: its checksum is compared at every start, and a
database that is ahead of the code is refused instead of being guessed at.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import asyncpg
from msgspec import Struct

from compiler.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOCK = 0x494E544C
"""Advisory lock that serialises migrations of one database."""

_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  number     int PRIMARY KEY,
  name       text NOT NULL,
  checksum   text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(AppError):
    """The database does not match the migrations of this version."""

    code = "migration"


class Migration(Struct, frozen=True):
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def bundled() -> tuple[Migration, ...]:
    """The migrations that this version carries, in order; also from an installed wheel."""
    folder = files("control_plane.db") / "migrations"
    return parse((entry.name, entry.read_text("utf-8")) for entry in folder.iterdir())


def parse(entries: Iterable[tuple[str, str]]) -> tuple[Migration, ...]:
    """Order (file name, text) pairs by number.

    Raises:
        MigrationError: two files share a number.
    """
    found: dict[int, Migration] = {}
    for file, sql in entries:
        match = _NAME.match(file)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise MigrationError(f"expected one migration {number:04}, got two", at=file)
        found[number] = Migration(number, match[2], sql)
    return tuple(found[number] for number in sorted(found))


async def migrate(
    database_url: str,
    *,
    migrations: Sequence[Migration] | None = None,
    connect_s: float = 10.0,
    wait_s: float = 300.0,
) -> list[int]:
    """Bring a database up to date.

    Args:
        database_url: a user who owns the schema (and may create roles, unless they exist).
        migrations: other than the bundled ones, for tests.
        connect_s: longest time to connect.
        wait_s: longest time to wait for another migrator and for the work itself.

    Returns:
        Numbers applied now; empty when nothing was to do.

    Raises:
        MigrationError: an applied migration was edited, the database is newer than this version,
            it cannot be reached, or a statement failed (nothing of that migration stays).
    """
    wanted = bundled() if migrations is None else tuple(migrations)
    try:
        async with asyncio.timeout(connect_s):
            connection = await asyncpg.connect(database_url)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(
            f"could not reach the database: {_reason(error)}",
            code="database.unreachable",
            hint="check DATABASE_URL and that PostgreSQL is running",
        ) from error
    try:
        async with asyncio.timeout(wait_s):
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            return await _apply(connection, wanted)
    except TimeoutError:
        raise MigrationError(
            f"gave up after {wait_s:.0f} s", hint="is another migration hanging?"
        ) from None
    finally:
        connection.terminate()  # also gives up the lock, even when the connection is stuck


async def _apply(connection: Any, wanted: Sequence[Migration]) -> list[int]:
    await connection.execute(_TABLE)
    rows = await connection.fetch("SELECT number, name, checksum FROM schema_migrations")
    applied = {row["number"]: row for row in rows}
    known = {migration.number for migration in wanted}
    for number in sorted(applied.keys() - known):
        raise MigrationError(
            f"the database has migration {number:04} {applied[number]['name']!r}, "
            "which this version does not know",
            code="migration.newer",
            hint="start the version that wrote it, or a newer one",
        )
    done = []
    for migration in wanted:
        before = applied.get(migration.number)
        if before is not None:
            if before["checksum"] != migration.checksum:
                raise MigrationError(
                    f"migration {migration.number:04} was edited after it was applied",
                    code="migration.edited",
                    at=f"{migration.number:04}_{migration.name}.sql",
                    hint="restore the file and put the change into a new migration",
                )
            continue
        await _apply_one(connection, migration)
        done.append(migration.number)
    return done


async def _apply_one(connection: Any, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"migration {migration.number:04} failed: {error}",
            code="migration.failed",
            at=f"{migration.number:04}_{migration.name}.sql{_line(migration.sql, error)}",
        ) from error


def _line(sql: str, error: asyncpg.PostgresError) -> str:
    position = getattr(error, "position", None)
    if not position:
        return ""
    return f":{sql.count(chr(10), 0, int(position) - 1) + 1}"


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
