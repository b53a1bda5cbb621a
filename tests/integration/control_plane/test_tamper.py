"""The database's own refusals, and rows edited past them by its owner."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest


def rewritten(table: str, column: str, old: str, new: str) -> str:
    """SQL that changes bytes and the digest beside them, as a careful forger would."""
    forged = f"convert_to(replace(convert_from({column}, 'UTF8'), '{old}', '{new}'), 'UTF8')"
    digest = f"'sha256:' || encode(sha256({forged}), 'hex')"
    return f"UPDATE {table} SET {column} = {forged}, digest = {digest}"


@pytest.mark.parametrize(
    "tamper",
    [
        rewritten("model_packages", "manifest", "dan@bank", "eve@bank"),
        rewritten("releases", "content", "2000", "9000"),
        "UPDATE release_models SET package = 'sha256:' || repeat('0', 64)",
        "UPDATE model_approvals SET envelope = (SELECT envelope FROM release_approvals LIMIT 1)",
        "UPDATE release_approvals SET envelope = (SELECT envelope FROM model_approvals LIMIT 1)",
    ],
    ids=["manifest", "content", "reference", "model approval", "release approval"],
)
async def test_a_row_edited_by_the_database_owner_is_not_published(
    staff: Any, proposed: str, database_url: str, tamper: str
) -> None:
    manager = staff["manager"]
    path = proposed
    await staff["compliance"].approve(path)
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.PostgresError, match="history"):
        await connection.execute(tamper)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(tamper)
    status, code = await manager.refused("POST", path + "/activate")
    assert status in (403, 422)
    assert code.startswith(("release.", "package.", "signature.", "statement."))
    assert await connection.fetchval("SELECT count(*) FROM activations") == 0
    assert await connection.fetchval("SELECT count(*) FROM release_bundles") == 0
    await connection.close()


def approval_by(email: str, role: str) -> str:
    """SQL that writes an approval past the API."""
    return (
        "INSERT INTO model_approvals (model, version, approver, role, key_id, package, reports,"
        f" policy, envelope, issued_at, expires_at) SELECT 'quick', 1, '{email}', '{role}', 'k',"
        " digest, '{}', 'p', 'e', now(), now() + interval '1 day' FROM model_packages"
    )


def move_to(state: str) -> str:
    """SQL that writes an event past the API."""
    return (
        "INSERT INTO model_events (model, version, state, actor)"
        f" VALUES ('quick', 1, '{state}', 'dan@bank.example')"
    )


PAST_THE_API = [
    (approval_by("dan@bank.example", "manager"), "approval.own_work"),
    (approval_by("admin@bank.example", "manager"), "approval.role"),
    (approval_by("mia@bank.example", "manager"), "approval.reports"),
    (move_to("approved"), "approval.missing"),
    (move_to("deployed"), "model.state"),
]


async def test_the_database_refuses_even_its_owner(
    staff: Any, submitted: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    for statement, code in PAST_THE_API:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(statement)
        assert caught.value.detail == code
    await connection.close()


async def test_the_database_refuses_a_release_approval_by_its_editor(
    staff: Any, proposed: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(
            "INSERT INTO release_approvals (release, approver, key_id, envelope, content,"
            " issued_at, expires_at) SELECT id, 'mia@bank.example', 'k', 'e', digest, now(),"
            " now() + interval '1 day' FROM releases"
        )
    assert caught.value.detail == "approval.own_edit"
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(
            "INSERT INTO activations (endpoint, kind, release, valid_from, actor)"
            " SELECT endpoint, 'activate', id, now(), 'mia@bank.example' FROM releases"
        )
    assert caught.value.detail == "release.not_approved"
    await connection.close()
