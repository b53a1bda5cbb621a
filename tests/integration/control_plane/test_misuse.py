"""Nobody changes policy alone: each known way round it is refused by name, half-writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from compiler.identity import roster_key
from compiler.signing import KeyPair
from compiler.statements import format_time

PASSWORD = "a long sentence nobody guesses"
RULES = {"text": "IF amount < 2000 THEN quick ELSE quick"}


async def test_second_account_of_one_mailbox_is_refused(staff: Any, untouched: Any) -> None:
    async with untouched():
        for email in ("dan+boss@bank.example", "DAN@bank.example", "dan@BANK.example"):
            body = {"name": "x", "email": email, "password": PASSWORD, "role": "manager"}
            assert await staff["admin"].refused("POST", "/users", body) == (409, "user.exists")


async def test_second_account_cannot_use_the_first_ones_key(
    house: Any, staff: Any, submitted: str, untouched: Any
) -> None:
    dan, other = staff["scientist"], await house.add("nad@bank.example", "manager")
    other.key = dan.key
    await other.read_reports(submitted)
    statement = await other.get(submitted + "/statement")
    async with untouched():
        assert await other.refused("POST", submitted + "/approve", other.sign(statement)) == (
            403,
            "approval.signer",
        )


async def test_a_key_never_moves_to_another_person(house: Any, staff: Any, untouched: Any) -> None:
    moved = roster_key(staff["scientist"].key.public, "nad@bank.example", "approver")
    del house.people["dan@bank.example"]
    async with untouched():
        answer = await staff["admin"].call("PUT", "/roster", house.roster(moved))
        assert (answer.status, answer.code) == (422, "roster.key_moved")


async def test_one_key_for_two_people_is_no_roster(house: Any, staff: Any, untouched: Any) -> None:
    twin = roster_key(staff["scientist"].key.public, "nad@bank.example", "approver")
    async with untouched():
        answer = await staff["admin"].call("PUT", "/roster", house.roster(twin))
        assert answer.status == 422


async def test_an_old_roster_is_refused(house: Any, staff: Any, untouched: Any) -> None:
    old = house.roster(version=1)
    async with untouched():
        assert await staff["admin"].refused("PUT", "/roster", old) == (409, "roster.rollback")


async def test_a_roster_of_another_root_is_refused(house: Any, staff: Any, untouched: Any) -> None:
    house.root = KeyPair.generate()
    body = house.roster(version=9)
    async with untouched():
        assert await staff["admin"].refused("PUT", "/roster", body) == (422, "roster.invalid")


async def test_who_releases_cannot_be_enrolled_as_approver(
    house: Any, staff: Any, untouched: Any
) -> None:
    greedy = roster_key(KeyPair.generate().public, "releaser", "approver")
    async with untouched():
        answer = await staff["admin"].call("PUT", "/roster", house.roster(greedy))
        assert (answer.status, answer.code) == (422, "roster.duties")


async def test_work_of_a_service_account_counts_as_its_owners(
    house: Any, staff: Any, packages: Any, untouched: Any
) -> None:
    owner = staff["manager"]
    body = {"name": "trainer", "owner": owner.email, "role": "manager"}
    robot = await staff["admin"].post("/services", body)
    owner_of = type("Robot", (), {"email": robot["email"]})
    await packages("robotic", owner_of)
    path = "/models/robotic/versions/1"
    await staff["scientist"].post(path + "/submit")
    await owner.read_reports(path)
    async with untouched():
        assert await owner.refused("GET", path + "/statement") == (403, "approval.own_work")
        assert await owner.refused("POST", path + "/approve", {"envelope": "{}"}) == (
            403,
            "approval.own_work",
        )


async def test_a_service_account_approves_nothing(
    staff: Any, submitted: str, untouched: Any
) -> None:
    admin, manager = staff["admin"], staff["manager"]
    body = {"name": "robot", "owner": manager.email, "role": "manager"}
    robot = await admin.post("/services", body)
    made = await admin.post(f"/services/{robot['email']}/tokens", {"name": "ci"})
    person = type(manager)(manager.house, robot["email"], manager.key)
    person.token = made["token"]
    async with untouched():
        assert await person.refused("POST", submitted + "/approve", {"envelope": "{}"}) == (
            403,
            "approval.service_account",
        )


async def test_edits_of_ones_service_account_cannot_be_approved(
    house: Any, staff: Any, submitted: str, untouched: Any
) -> None:
    admin, manager, second = staff["admin"], staff["manager"], staff["second"]
    robot = await admin.post(
        "/services", {"name": "robot", "owner": second.email, "role": "manager"}
    )
    made = await admin.post(f"/services/{robot['email']}/tokens", {"name": "ci"})
    robot_person = type(manager)(house, robot["email"], manager.key)
    robot_person.token = made["token"]
    await staff["compliance"].approve(submitted)
    await manager.post("/endpoints", {"name": "credit"})
    draft = {"rules": RULES, "models": {"quick": 1}}
    answer = await robot_person.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')
    assert answer.status == 200, answer.raw
    body = {"justification": "first", "waivers": ["tautology", "unreachable"]}
    release = await manager.post("/endpoints/credit/releases", body)
    assert release["editors"] == sorted([manager.email, robot["email"], second.email])
    path = f"/releases/{release['id']}"
    async with untouched():
        assert await second.refused("POST", path + "/approve", {"envelope": "{}"}) == (
            403,
            "approval.own_edit",
        )


ALTERED = [
    ({"package": "sha256:" + "0" * 64}, 422, "approval.altered"),
    ({"version": 2}, 422, "approval.altered"),
    ({"reports": []}, 422, "approval.altered"),
    ({"policy": "anything goes"}, 422, "approval.altered"),
    ({"approver": "max@bank.example"}, 403, "approval.signer"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "approval.expired"),
    ({"expires_at": "2999-01-01T00:00:00Z"}, 422, "approval.dates"),
    ({"issued_at": "2020-01-01T00:00:00Z"}, 422, "approval.dates"),
]


async def test_an_altered_statement_approves_nothing(
    staff: Any, submitted: str, untouched: Any
) -> None:
    manager = staff["manager"]
    statement = await manager.get(submitted + "/statement")
    async with untouched():
        for change, status, code in ALTERED:
            body = manager.sign(statement, **change)
            assert await manager.refused("POST", submitted + "/approve", body) == (status, code)
        assert (await manager.get(submitted))["state"] == "submitted"


async def test_a_statement_from_before_the_resubmission_is_a_replay(
    staff: Any, submitted: str, untouched: Any
) -> None:
    manager = staff["manager"]
    earlier = datetime.now(UTC) - timedelta(hours=1)
    body = manager.sign(
        await manager.get(submitted + "/statement"),
        issued_at=format_time(earlier),
        expires_at=format_time(earlier + timedelta(days=30)),
    )
    async with untouched():
        assert await manager.refused("POST", submitted + "/approve", body) == (
            409,
            "approval.replayed",
        )


async def test_an_envelope_changed_after_signing_is_refused(
    staff: Any, submitted: str, untouched: Any
) -> None:
    manager = staff["manager"]
    statement = await manager.get(submitted + "/statement")
    signed = manager.sign(statement)["envelope"]
    other = manager.sign(statement, policy="none")["envelope"]
    head, tail = other.split('"signatures"')[0], signed.split('"signatures"')[1]
    body = {"envelope": head + '"signatures"' + tail}
    async with untouched():
        assert await manager.refused("POST", submitted + "/approve", body) == (
            403,
            "signature.invalid",
        )


async def test_a_key_that_is_not_enrolled_signs_nothing(
    staff: Any, submitted: str, untouched: Any
) -> None:
    manager = staff["manager"]
    statement = await manager.get(submitted + "/statement")
    manager.key = KeyPair.generate()
    async with untouched():
        assert await manager.refused("POST", submitted + "/approve", manager.sign(statement)) == (
            403,
            "signature.unknown_key",
        )


async def test_one_approval_counts_once(staff: Any, submitted: str, untouched: Any) -> None:
    manager = staff["manager"]
    body = manager.sign(await manager.get(submitted + "/statement"))
    await manager.post(submitted + "/approve", body)
    async with untouched():
        assert await manager.refused("POST", submitted + "/approve", body) == (
            409,
            "approval.not_submitted",
        )


async def test_a_high_tier_needs_both_roles(staff: Any, submitted: str) -> None:
    manager, compliance = staff["manager"], staff["compliance"]
    answer = await manager.call("PUT", "/models/quick/tier", {"tier": "high"})
    assert answer.status == 200
    await manager.approve(submitted)
    assert (await manager.get(submitted))["state"] == "submitted"
    await compliance.approve(submitted)
    assert (await manager.get(submitted))["state"] == "approved"


async def test_a_manager_with_a_second_way_cannot_approve_his_release(
    staff: Any, proposed: str
) -> None:
    manager = staff["manager"]
    path = proposed
    assert await manager.refused("GET", path + "/statement") == (403, "approval.own_edit")
    statement = await staff["second"].get(path + "/statement")
    assert await manager.refused("POST", path + "/approve", manager.sign(statement)) == (
        403,
        "approval.own_edit",
    )
    second = staff["second"]
    body = manager.sign(statement, approver=second.email)
    assert await second.refused("POST", path + "/approve", body) == (403, "approval.signer")
    assert await manager.refused("POST", path + "/activate") == (409, "release.not_approved")


async def test_a_late_revocation_stops_an_activation(house: Any, staff: Any, proposed: str) -> None:
    path = proposed
    await staff["compliance"].approve(path)
    del house.people["cora@bank.example"]
    answer = await staff["admin"].call("PUT", "/roster", house.roster())
    assert answer.status == 200
    assert await staff["manager"].refused("POST", path + "/activate") == (
        403,
        "release.approval",
    )


STRANGE = ["x'; DROP TABLE users; --", "x\x00y", "../../etc", "a" * 500, "x%00", '"', "Größe"]


async def test_strange_names_are_refused_and_harm_nothing(staff: Any) -> None:
    manager = staff["manager"]
    for name in STRANGE:
        answer = await manager.call("POST", "/endpoints", {"name": name})
        assert answer.status == 400, answer.raw
        body = {"endpoint": name, "name": name}
        assert (await manager.call("POST", "/keys", body)).status in (400, 404, 422)
    assert (await manager.call("GET", "/releases?endpoint=x'--")).status == 200
    assert len((await manager.get("/users"))["items"]) == 5


async def test_secrets_reach_no_log_and_no_answer(
    house: Any, staff: Any, caplog: pytest.LogCaptureFixture, database_url: str
) -> None:
    manager, admin = staff["manager"], staff["admin"]
    await manager.post("/endpoints", {"name": "credit"})
    key = (await manager.post("/keys", {"endpoint": "credit", "name": "web"}))["key"]
    answers = [
        (await admin.call("POST", "/login", {"email": admin.email, "password": 5})).raw,
        (await admin.call("POST", "/users", {"password": PASSWORD})).raw,
        (await admin.call("GET", "/users")).raw,
        (await admin.call("GET", "/log?limit=1000")).raw,
        (await manager.call("GET", "/keys")).raw,
    ]
    secrets = [PASSWORD, key, manager.token, admin.token, "open sesame", "argon2"]
    text = caplog.text + "".join(raw.decode() for raw in answers)
    assert [secret for secret in secrets if secret in text] == []
    connection = await asyncpg.connect(database_url)
    dump = str(
        [
            await connection.fetch(f"SELECT * FROM {table}")
            for table in ("admin_log", "sessions", "routing_keys", "login_attempts")
        ]
    )
    await connection.close()
    assert [secret for secret in secrets if secret in dump] == []
