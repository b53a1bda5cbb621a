"""Fills a migrated database with the state that the control plane is measured on."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import asyncpg

STEP = 250_000
"""Audit rows per statement, so that progress can be shown."""

BEFORE_AUDIT = (
    "registry", "versions", "packages", "events", "contributors", "endpoints", "drafts",
    "releases", "bundles", "release_models", "release_events", "activations", "keys", "log",
)  # fmt: skip


def statements() -> dict[str, str]:
    """The generator's SQL by name."""
    text = (files("loadtest.bench") / "control_state.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


async def fill(database_url: str, tell: Callable[[str], None]) -> None:
    """Everything but audit rows: 1,000 models, 10,000 versions, 200 endpoints, 1,000 releases."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "INSERT INTO users (email, name, role, password_hash)"
            " VALUES ('bench@bank.example', 'Bench', 'data_scientist', 'none')"
        )
        sql = statements()
        for name in BEFORE_AUDIT:
            tell(f"writing {name}")
            await connection.execute(sql[name])
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def add_audit_rows(
    database_url: str, have: int, want: int, tell: Callable[[str], None]
) -> None:
    """Audit rows up to a number, spread over the last 30 days."""
    connection: Any = await asyncpg.connect(database_url)
    try:
        for day in range(31):
            await connection.execute(
                "SELECT ensure_audit_partitions('default', 1, current_date - $1::int)", day
            )
        for start in range(have, want, STEP):
            stop = min(start + STEP, want)
            tell(f"writing audit rows: {stop:,} of {want:,}")
            await connection.execute(statements()["audit"], start + 1, stop, want, timeout=600)
        await connection.execute("ANALYZE audit_records")
    finally:
        await connection.close()
