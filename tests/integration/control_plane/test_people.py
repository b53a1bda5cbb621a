"""People: the first one, logging in, guessing, roles that stay apart, the roster."""

from __future__ import annotations

from typing import Any

PASSWORD = "a long sentence nobody guesses"


async def test_bootstrap_cannot_be_replayed(house: Any) -> None:
    answer = await house.people["admin@bank.example"].call(
        "POST",
        "/bootstrap",
        {"token": "open sesame", "name": "Eve", "email": "eve@x.example", "password": PASSWORD},
    )
    assert (answer.status, answer.code) == (409, "bootstrap.done")


async def test_staff_of_four_roles_can_be_made(staff: Any) -> None:
    rows = (await staff["admin"].get("/users"))["items"]
    assert [row["role"] for row in rows] == [
        "superadmin", "data_scientist", "manager", "manager", "compliance_manager",
    ]  # fmt: skip
    roster = await staff["manager"].get("/roster")
    assert roster["version"] == 1
