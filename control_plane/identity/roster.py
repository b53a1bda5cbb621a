"""The roster of signing keys: accepted when the root signed it and it is newer, then trusted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from compiler.identity import Roster, RosterError, Trust, read_roster
from compiler.signing import unb64
from compiler.statements import parse_time
from control_plane import adminlog
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, NotFoundError, SetupError

_SQL = sql.load("control_plane.identity")

PUBLIC_BYTES = 32


def read_root_key(text: str) -> bytes:
    """The public root key from the settings.

    Args:
        text: base64 of 32 bytes, or the path of a file with that or with a key document.

    Raises:
        SetupError: neither.
    """
    public = _decode_public(text)
    if public is None:  # base64 may begin with a slash, so the key itself is tried first
        try:
            public = _decode_public(Path(text).expanduser().read_text("utf-8"))
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise SetupError(
                f"expected the root key, or a file that holds it: {error}",
                code="root_key.missing",
                hint="set INTERLOCK_ROOT_KEY to the content of root.pub",
            ) from None
    if public is None:
        raise SetupError(
            "expected the root key as base64 of 32 bytes, or a file that holds it",
            code="root_key.invalid",
            hint="set INTERLOCK_ROOT_KEY to the content of root.pub",
        )
    return public


def _decode_public(text: str) -> bytes | None:
    """The 32 bytes in base64 text or in a key document; None when it is neither."""
    content = text.strip()
    try:
        if content.startswith("{"):
            content = str(msgspec.json.decode(content, type=dict[str, Any]).get("public", ""))
        public = unb64(content)
    except (ValueError, msgspec.MsgspecError):
        return None
    return public if len(public) == PUBLIC_BYTES else None


async def install(
    connection: Connection, envelope: bytes, root_public: bytes, actor: str | None
) -> Roster:
    """Accept a roster, from now on the one that counts.

    Args:
        connection: inside a transaction.
        envelope: DSSE envelope (JSON).
        root_public: the only key trusted beforehand.
        actor: who brings it; None for the file given at start.

    Raises:
        RosterError: not signed by the root, damaged, expired, or its keys belong to others.
        ConflictError: ``roster.rollback``: not newer than the one that counts.
    """
    now = datetime.now(UTC)
    roster = read_roster(envelope, root_public)
    Trust.from_roster(envelope, root_public, now=now)
    if not 0 < roster.version < 2**31:
        raise RosterError(f"expected a version from 1 upwards, got {roster.version}")
    check_people(roster)
    owners = await connection.fetch(_SQL["key_owners"], [key.id for key in roster.keys])
    known = {row["key_id"]: row["person"] for row in owners}
    for key in roster.keys:
        if known.get(key.id, key.person) != key.person:
            raise RosterError(
                f"key {key.id} belonged to {known[key.id]} and cannot become {key.person}'s",
                code="roster.key_moved",
                hint="every person needs a key of his own",
            )
    row = await connection.fetchrow(_SQL["latest_roster"])
    if row is not None and roster.version <= row["version"]:
        raise ConflictError(
            f"expected a roster newer than version {row['version']}, got {roster.version}",
            code="roster.rollback",
            hint="an old roster may hold keys that were revoked since",
        )
    await connection.execute(
        _SQL["add_roster"], roster.version, envelope, parse_time(roster.expires), actor
    )
    await connection.executemany(
        _SQL["add_roster_key"], [(key.id, key.person, roster.version) for key in roster.keys]
    )
    await adminlog.note(
        connection, actor or "setup", "roster.install", str(roster.version), keys=len(roster.keys)
    )
    return roster


def check_people(roster: Roster) -> None:
    """Stop at a person who would both build or release and approve.

    Raises:
        RosterError: ``roster.duties``.
    """
    for key in roster.keys:
        if key.person != key.person.strip().lower():
            raise RosterError(f"expected a lower-case e-mail, got {key.person!r}", at=key.id)
    makers = {k.person for k in roster.keys if {"builder", "releaser", "ledger"} & set(k.roles)}
    approvers = {k.person for k in roster.keys if "approver" in k.roles}
    for person in sorted(makers & approvers):
        raise RosterError(
            f"{person} would build or release and approve",
            code="roster.duties",
            hint="machines build and release, people approve; each under a name of its own",
        )


async def current_row(connection: Connection) -> Any:
    """The roster that counts.

    Raises:
        NotFoundError: none was installed yet.
    """
    row = await connection.fetchrow(_SQL["latest_roster"])
    if row is None:
        raise NotFoundError(
            "no roster is installed",
            code="roster.missing",
            hint="PUT /api/roster with an envelope signed by the root key",
        )
    return row


async def current_trust(connection: Connection, root_public: bytes) -> Trust:
    """Whose signatures count now, proved from the root key and not from the database.

    Raises:
        NotFoundError: none was installed yet.
        RosterError: the stored one is not signed by the root (the row was changed).
    """
    row = await current_row(connection)
    return Trust.from_roster(
        bytes(row["envelope"]), root_public, now=datetime.now(UTC), min_version=row["version"]
    )
