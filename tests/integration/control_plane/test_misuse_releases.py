"""A manager's own routing change: every known way to approve it alone, and forged approvals.

Each is refused by name, and no table has a row more or less than before it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from compiler.identity import roster_key
from compiler.signing import KeyPair
from compiler.statements import format_time

PASSWORD = "a long sentence nobody guesses"
Untouched = Callable[..., AbstractAsyncContextManager[None]]


def wrongs() -> list[tuple[dict[str, Any], tuple[int, str]]]:
    """Changes of a release statement, and how each is refused."""
    now = datetime.now(UTC)
    hour_ago, tomorrow = format_time(now - timedelta(hours=1)), format_time(now + timedelta(days=1))
    return [
        ({"endpoint": "other"}, (422, "approval.altered")),
        ({"number": 2}, (422, "approval.altered")),
        ({"content": "sha256:" + "0" * 64}, (422, "approval.altered")),
        ({"approver": "mia@bank.example"}, (403, "approval.signer")),
        ({"approver": "nobody@bank.example"}, (403, "approval.signer")),
        ({"expires_at": hour_ago}, (422, "approval.expired")),
        ({"expires_at": "2999-01-01T00:00:00Z"}, (422, "approval.dates")),
        ({"issued_at": tomorrow}, (422, "approval.dates")),
        ({"issued_at": hour_ago, "expires_at": tomorrow}, (409, "approval.replayed")),
        ({"issued_at": "yesterday"}, (422, "statement.invalid")),
        ({"number": "1"}, (422, "statement.invalid")),
    ]


async def test_a_forged_statement_approves_no_release(
    staff: Any, proposed: str, untouched: Untouched
) -> None:
    judge = staff["compliance"]
    statement = await judge.get(proposed + "/statement")
    for change, refusal in wrongs():
        async with untouched():
            body = judge.sign(statement, **change)
            assert await judge.refused("POST", proposed + "/approve", body) == refusal, change
    assert (await judge.get(proposed))["state"] == "proposed"


async def test_a_wrong_signature_approves_no_release(
    house: Any, staff: Any, proposed: str, untouched: Untouched
) -> None:
    judge = staff["compliance"]
    statement = await judge.get(proposed + "/statement")
    signed = judge.sign(statement)["envelope"]
    other = judge.sign(statement, number=7)["envelope"]
    head, tail = other.split('"signatures"')[0], signed.split('"signatures"')[1]
    envelopes = {
        "{}": "signature.invalid",
        "[1]": "signature.invalid",
        head + '"signatures"' + tail: "signature.invalid",
        signed.replace("release-approval", "model-approval"): "signature.invalid",
    }
    for key, code in (
        (KeyPair.generate(), "signature.unknown_key"),
        (house.builder, "signature.role"),
    ):
        forger = type(judge)(house, judge.email, key)
        envelopes[forger.sign(statement)["envelope"]] = code
    for envelope, code in envelopes.items():
        async with untouched():
            body = {"envelope": envelope}
            refusal = await judge.refused("POST", proposed + "/approve", body)
        assert refusal == (403, code)


async def test_an_approval_counts_once_and_for_one_release(
    staff: Any, proposed: str, untouched: Untouched
) -> None:
    judge, manager = staff["compliance"], staff["manager"]
    body = judge.sign(await judge.get(proposed + "/statement"))
    await judge.post(proposed + "/approve", body)
    async with untouched():
        refusal = await judge.refused("POST", proposed + "/approve", body)
        assert refusal == (409, "release.state")
    view = await manager.get("/endpoints/credit/draft")
    answer = await manager.call(
        "PUT", "/endpoints/credit/draft", view["draft"], If_Match=f'"{view["revision"]}"'
    )
    assert answer.status == 200
    again = await manager.post("/endpoints/credit/releases", {"justification": "again"})
    async with untouched():
        path = f"/releases/{again['id']}/approve"
        assert await judge.refused("POST", path, body) == (422, "approval.altered")


async def test_a_second_account_of_the_managers_mailbox_is_no_second_person(
    staff: Any, proposed: str, untouched: Untouched
) -> None:
    for email in ("mia+two@bank.example", "MIA@bank.example", "Mia+x@BANK.example"):
        async with untouched():
            body = {"name": "x", "email": email, "password": PASSWORD, "role": "manager"}
            assert await staff["admin"].refused("POST", "/users", body) == (409, "user.exists")


async def test_a_second_account_with_the_managers_key_approves_nothing(
    house: Any, staff: Any, proposed: str, untouched: Untouched
) -> None:
    mia, other = staff["manager"], await house.add("aim@bank.example", "manager")
    other.key = mia.key
    statement = await other.get(proposed + "/statement")
    async with untouched():
        body = other.sign(statement)
        refusal = await other.refused("POST", proposed + "/approve", body)
        assert refusal == (403, "approval.signer")
        body = other.sign(statement, approver=mia.email)
        refusal = await other.refused("POST", proposed + "/approve", body)
        assert refusal == (403, "approval.signer")
    twin = roster_key(mia.key.public, other.email, "approver")
    async with untouched():
        answer = await staff["admin"].call("PUT", "/roster", house.roster(twin))
        assert answer.status == 422


async def test_a_service_account_of_the_manager_approves_nothing(
    staff: Any, proposed: str, untouched: Untouched
) -> None:
    admin, mia = staff["admin"], staff["manager"]
    wanted = {"name": "robot", "owner": mia.email, "role": "manager"}
    robot = await admin.post("/services", wanted)
    made = await admin.post(f"/services/{robot['email']}/tokens", {"name": "ci"})
    bot = type(mia)(mia.house, robot["email"], mia.key)
    bot.token = made["token"]
    statement = await staff["compliance"].get(proposed + "/statement")
    async with untouched():
        for body in ({"envelope": "{}"}, bot.sign(statement, approver=robot["email"])):
            refusal = await bot.refused("POST", proposed + "/approve", body)
            assert refusal == (403, "approval.service_account")
        refusal = await bot.refused("GET", proposed + "/statement")
        assert refusal == (403, "approval.service_account")


FORGED_EDITORS = """
UPDATE draft_edits SET editor = 'max@bank.example';
UPDATE releases SET editors = '{max@bank.example}', proposed_by = 'max@bank.example';
"""


async def test_rows_edited_by_the_database_owner_let_no_manager_serve_his_own_change(
    staff: Any, proposed: str, db: Any, untouched: Untouched
) -> None:
    """The content that he signs still names him: what routers check, activation checks, too."""
    mia = staff["manager"]
    async with untouched():
        with pytest.raises(asyncpg.PostgresError, match="history"):
            await db.execute(FORGED_EDITORS)
    await db.execute("SET session_replication_role = replica")
    await db.execute(FORGED_EDITORS)
    await mia.approve(proposed)  # the rows allow it now
    async with untouched():
        refusal = await mia.refused("POST", proposed + "/activate")
        assert refusal == (403, "release.approval")


FORGED_WORK = """
DELETE FROM model_contributors;
UPDATE version_numbers SET created_by = 'max@bank.example';
UPDATE users SET role = 'manager' WHERE email = 'dan@bank.example';
"""


async def test_rows_edited_by_the_database_owner_let_no_maker_serve_his_own_model(
    house: Any, staff: Any, submitted: str, db: Any, untouched: Untouched
) -> None:
    """The manifest, whose digest is approved, still names who made it."""
    dan, mia = staff["scientist"], staff["manager"]
    await db.execute("SET session_replication_role = replica")
    await db.execute(FORGED_WORK)
    await dan.read_reports(submitted)
    await dan.approve(submitted)  # the rows allow it now
    await mia.post("/endpoints", {"name": "credit"})
    draft = {"rules": {"text": "IF amount < 9 THEN quick ELSE quick"}, "models": {"quick": 1}}
    await mia.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')
    release = await mia.post("/endpoints/credit/releases", {"justification": "x"})
    path = f"/releases/{release['id']}"
    await staff["compliance"].approve(path)
    async with untouched():
        status, code = await mia.refused("POST", path + "/activate")
        assert (status, code.partition(".")[0]) == (403, "release")


async def test_accounts_do_not_change_hands(staff: Any, db: Any, untouched: Untouched) -> None:
    async with untouched():
        for change in ("email = 'x@y.example'", "kind = 'service', owner = 'mia@bank.example'"):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await db.execute(f"UPDATE users SET {change} WHERE email = 'dan@bank.example'")
            assert caught.value.detail == "user.identity_fixed"


INJECTIONS = (
    "x'; DROP TABLE users; --",
    '"; DELETE FROM releases; --',
    "$1; SELECT pg_sleep(60)",
    "credit' OR '1'='1",
    "%' UNION SELECT password_hash FROM users --",
    "\\'; COMMIT; --",
)


async def test_sql_in_names_filters_and_reasons_is_only_text(
    house: Any, staff: Any, proposed: str, untouched: Untouched
) -> None:
    mia, admin = staff["manager"], staff["admin"]
    for text in INJECTIONS:
        async with untouched(but="admin_log"):  # questions to the evidence are noted there
            for path in ("/endpoints", "/models", "/keys"):
                body = {"name": text, "endpoint": text}
                answer = await mia.call("POST", path, body)
                assert 400 <= answer.status < 500, (path, answer.raw)
            for path in ("/releases", "/audit/records", "/keys", "/log"):
                response = await house.client.get(
                    "/api" + path,
                    params=dict.fromkeys(("endpoint", "model", "actor", "action"), text),
                    headers={"Authorization": f"Bearer {mia.token}"},
                )
                assert response.status_code < 500, (path, response.content)
                assert b"argon2" not in response.content
        login = await admin.call("POST", "/login", {"email": text, "password": text})
        assert 400 <= login.status < 500  # in the log, as every guess
    turned = await mia.post(proposed + "/reject", {"reason": INJECTIONS[0]})
    assert turned["history"][-1]["reason"] == INJECTIONS[0]


async def test_refusals_carry_no_secret(
    house: Any, staff: Any, proposed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was sent along with a refused request is not sent back, and no log has it."""
    mia = staff["manager"]
    secret = "hunter2-" + "s" * 24
    calls = [
        ("POST", "/login", {"email": mia.email, "password": secret}),
        ("POST", "/password", {"old": secret, "new": "x"}),
        ("POST", "/users", {"name": "x", "email": "x@y.example", "password": secret, "role": 5}),
        ("POST", "/connections", {"name": "Bad Name", "kind": "postgresql", "secret": secret}),
        ("POST", proposed + "/approve", {"envelope": 5, "token": secret}),
    ]
    for method, path, body in calls:
        for person in (mia, staff["admin"], staff["scientist"]):
            answer = await person.call(method, path, body)
            if answer.status >= 400:
                assert secret.encode() not in answer.raw, (path, answer.raw)
    mia.token = "ils_" + secret
    assert secret.encode() not in (await mia.call("GET", "/me")).raw
    assert secret not in caplog.text
