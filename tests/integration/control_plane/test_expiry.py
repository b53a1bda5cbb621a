"""Approvals that ran out: judged when a release is activated, renewed by asking again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from compiler.statements import format_time


async def backdate(database_url: str, table: str, envelope: str) -> None:
    """Put a properly signed but expired approval in the place of the valid one."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(f"UPDATE {table} SET envelope = $1", envelope.encode())
    await connection.close()


def expired(person: Any, statement: Any) -> str:
    """This statement, signed by its person a year ago for a month."""
    issued = datetime.now(UTC) - timedelta(days=365)
    ended = issued + timedelta(days=30)
    changes = {"issued_at": format_time(issued), "expires_at": format_time(ended)}
    return person.sign(statement, **changes)["envelope"]


async def test_an_expired_model_approval_stops_activation_until_it_is_renewed(
    staff: Any, submitted: str, database_url: str
) -> None:
    manager, second = staff["manager"], staff["second"]
    statement = await second.get(submitted + "/statement")
    await second.post(submitted + "/approve", second.sign(statement))
    await manager.post("/endpoints", {"name": "credit"})
    draft = {"rules": {"text": "IF amount < 9 THEN quick ELSE quick"}, "models": {"quick": 1}}
    await manager.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')
    made = await manager.post("/endpoints/credit/releases", {"justification": "first"})
    path = f"/releases/{made['id']}"
    await staff["compliance"].approve(path)
    await backdate(database_url, "model_approvals", expired(second, statement))
    assert await manager.refused("POST", path + "/activate") == (409, "approval.expired")
    await staff["scientist"].post(submitted + "/submit")
    assert await manager.refused("POST", path + "/activate") == (409, "model.not_approved")
    await second.approve(submitted)
    assert (await manager.post(path + "/activate"))["number"] == 1


async def test_an_expired_routing_approval_stops_activation_but_not_rollback(
    staff: Any, proposed: str, database_url: str
) -> None:
    manager, compliance = staff["manager"], staff["compliance"]
    statement = await compliance.get(proposed + "/statement")
    await compliance.post(proposed + "/approve", compliance.sign(statement))
    await manager.post(proposed + "/activate")
    draft = {"rules": {"text": "IF amount < 5 THEN quick ELSE quick"}, "models": {"quick": 1}}
    await manager.call("PUT", "/endpoints/credit/draft", draft, If_Match='"1"')
    made = await manager.post("/endpoints/credit/releases", {"justification": "second"})
    path = f"/releases/{made['id']}"
    second = await compliance.get(path + "/statement")
    await compliance.post(path + "/approve", compliance.sign(second))
    await manager.post(path + "/activate")
    connection = await asyncpg.connect(database_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE release_approvals SET envelope = $1 WHERE release = (SELECT id FROM releases"
        " WHERE number = 1)",
        expired(compliance, statement).encode(),
    )
    await connection.close()
    body = {"to": 1, "reason": "back"}
    assert (await manager.post("/endpoints/credit/rollback", body))["number"] == 1
