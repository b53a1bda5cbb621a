"""The stack's own database: its URLs, its schema and one login per process role."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from compiler.errors import AppError
from interlock.embedded.postgres import EmbeddedPostgres
from interlock.embedded.redis import EmbeddedRedis
from interlock.home import Home
from interlock.stack.secrets import PROCESS_ROLES, DatabaseSecrets, read_database_secrets

DATABASE = "interlock"
CONNECT_S = 5.0


class DatabaseError(AppError):
    """The database cannot be used."""

    code = "database.unusable"


def login(role: str) -> str:
    """Login of one process role."""
    return f"stack_{role}"


def embedded_postgres(home: Home, passwords: DatabaseSecrets) -> EmbeddedPostgres:
    """The PostgreSQL server of a home."""
    return EmbeddedPostgres(home.path, password=passwords.postgres)


def embedded_redis(home: Home, passwords: DatabaseSecrets) -> EmbeddedRedis:
    """The Redis server of a home."""
    return EmbeddedRedis(home.path, password=passwords.redis)


def embedded_urls(home: Home, role: str) -> tuple[str | None, str | None]:
    """(database, Redis) URLs of the embedded servers for one role; None where there is no server.

    The role ``owner`` is the superuser, who migrates.
    """
    passwords = read_database_secrets(home)
    database_url, redis_url = None, None
    if (home.path / "postgres" / "PG_VERSION").exists():
        server = embedded_postgres(home, passwords)
        if role == "owner":
            database_url = server.url(database=DATABASE)
        else:
            secret = passwords.roles[role]
            database_url = server.url(user=login(role), password=secret, database=DATABASE)
    if (home.path / "redis" / "redis.conf").exists():
        redis_url = embedded_redis(home, passwords).url()
    return database_url, redis_url


async def check_database(url: str) -> None:
    """Prove that the database answers.

    Raises:
        DatabaseError: it does not; the message names it without its password.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            connection = await asyncpg.connect(url)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        raise unreachable(url, e) from None
    connection.terminate()


def unreachable(url: str, error: BaseException) -> DatabaseError:
    """The error for a database that does not answer."""
    reason = " ".join(str(error).split()) or f"no answer within {CONNECT_S:.0f} s"
    return DatabaseError(
        f"cannot reach the database {without_password(url)}: {reason}",
        code="database.unreachable",
        at="DATABASE_URL",
        hint="check that PostgreSQL runs there and that DATABASE_URL has the right host, port, "
        "user and password; without DATABASE_URL, interlock up starts its own",
    )


def without_password(url: str) -> str:
    """A URL that may be shown.

    >>> without_password("postgresql://me:secret@db:5432/x?host=/run")
    'postgresql://me@db:5432/x?host=/run'
    """
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{credentials.partition(':')[0]}{at}{place}"


async def create_database(server: EmbeddedPostgres) -> None:
    """Create the stack's database in a new embedded server.

    Raises:
        DatabaseError: the home's secrets and its data do not belong together.
    """
    try:
        connection = await asyncpg.connect(server.url())
    except asyncpg.InvalidAuthorizationSpecificationError:
        raise DatabaseError(
            f"the password in secrets/db.json does not open the database in {server.data}",
            code="database.password",
            at=str(server.data),
            hint="restore the secrets folder that belongs to this data, or move the data away to "
            "begin anew",
        ) from None
    try:
        known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if not known:
            await connection.execute(f"CREATE DATABASE {DATABASE}")
            await connection.execute(f"REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC")
    finally:
        await connection.close()


async def ensure_logins(owner_url: str, passwords: DatabaseSecrets) -> None:
    """One login per process role, a member of its group role, with the password of the home."""
    connection = await asyncpg.connect(owner_url)
    try:
        for role in PROCESS_ROLES:
            await _ensure_login(connection, role, passwords.roles[role])
    finally:
        await connection.close()


async def _ensure_login(connection: Any, role: str, password: str) -> None:
    name, group = login(role), f"interlock_{role}"
    known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if known else "CREATE"
    quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
    await connection.execute(f"{verb} ROLE {name} LOGIN PASSWORD {quoted}")
    await connection.execute(f"GRANT {group} TO {name}")
    await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {name}")
