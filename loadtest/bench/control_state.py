"""Fills a migrated database with the state that the control plane is measured on."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import asyncpg

from router.subject import SubjectHasher

SUBJECT_KEY = b"subject key of a benchmark, of no person"
SUBJECT = "47392"
STEP = 250_000
"""Audit rows per statement, so that progress can be shown."""

CLOSED = (
    "SELECT indexname AS index FROM pg_indexes"
    r" WHERE tablename ~ '^audit_records_.*_[0-9]{8}$' AND indexname ~ '_q_[a-z]+$'"
)
BEFORE_AUDIT = (
    "registry", "versions", "packages", "events", "contributors", "endpoints", "drafts",
    "releases", "bundles", "release_models", "release_events", "activations", "keys", "log",
    "reports", "gates", "aliases", "approvals", "datasets", "snapshots", "jobs", "job_logs",
    "job_attempts", "runs", "trials", "validations", "validation_reports", "schedules", "nodes",
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
    """Audit rows up to a number, spread over the last 30 days; days that are over are closed.

    The indexes of closed days are built once the rows are there, as the maintenance does it.
    """
    connection: Any = await asyncpg.connect(database_url)
    try:
        for day in range(31):
            await connection.execute(
                "SELECT ensure_audit_partitions('default', 1, current_date - $1::int)", day
            )
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET synchronous_commit = off")
        await connection.execute("SET maintenance_work_mem = '256MB'")
        for name in await connection.fetch(CLOSED):
            await connection.execute(f"DROP INDEX {name['index']}")
        subject = SubjectHasher(SUBJECT_KEY).ref(SUBJECT)
        for start in range(have, want, STEP):
            stop = min(start + STEP, want)
            tell(f"writing audit rows: {stop:,} of {want:,}")
            await connection.execute(
                statements()["audit"], start + 1, stop, want, subject, timeout=600
            )
        await connection.execute(statements()["events_after"], have + 1, want, timeout=600)
        tell("closing days")
        while await connection.fetchval("SELECT close_audit_partition()", timeout=600):
            pass
        await connection.execute("VACUUM ANALYZE audit_records", timeout=600)
        await connection.execute("ANALYZE audit_events")
    finally:
        await connection.close()
