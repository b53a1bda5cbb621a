"""The administrative log: who did what to which thing; one row per write, in its transaction."""

from __future__ import annotations

from typing import Any

from control_plane.db.pool import Connection

_INSERT = "INSERT INTO admin_log (actor, action, subject, detail) VALUES ($1, $2, $3, $4)"


async def note(
    connection: Connection,
    actor: str,
    action: str,
    subject: str = "",
    **detail: Any,
) -> None:
    """Add one act to the log, inside the caller's transaction.

    Args:
        connection: the one that makes the change, so that both happen or neither.
        actor: e-mail of who did it.
        action: dotted word, such as ``release.activate``.
        subject: what it was done to, such as ``credit/3``.
        detail: facts worth keeping; never a secret.
    """
    await connection.execute(_INSERT, actor, action, subject, detail)
