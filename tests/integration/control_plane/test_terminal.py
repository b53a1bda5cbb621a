"""The approval and release story as four people type it, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner

from compiler.errors import AppError
from control_plane.identity.permissions import PERMISSIONS, ROLES
from control_plane.serve import Server
from interlock.cli import cli

PASSWORD = "a long sentence nobody guesses"


@pytest.fixture
async def terminal(
    house: Any, staff: Any, unused_tcp_port: int, tmp_path: Any, monkeypatch: Any
) -> Any:
    """Types a command as one of the staff; answers its output, or raises its refusal."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    monkeypatch.setenv("INTERLOCK_CONTROL_URL", f"http://127.0.0.1:{unused_tcp_port}")
    config = uvicorn.Config(
        house.app, port=unused_tcp_port, lifespan="off", log_config=None, ws="none"
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    people = tmp_path / "secrets" / "people"
    for person in staff.values():
        person.key.save(people / f"{person.email}.key")

    async def type_in(who: str, line: str, *more: str, exits: int = 0) -> str:
        words = [*line.split(), *more]
        if words[0] != "login":
            words += ["--as", staff[who].email]
        done = await asyncio.to_thread(CliRunner().invoke, cli, words)
        if isinstance(done.exception, AppError):
            raise done.exception
        assert done.exit_code == exits, done.output
        return done.output

    while not server.started:
        await asyncio.wait({serving}, timeout=0.01)
    for who in staff:
        await type_in(who, f"login --email {staff[who].email} --password", PASSWORD)
    yield type_in
    server.should_exit = True
    await serving


async def refusal(answer: Any) -> str:
    with pytest.raises(AppError) as caught:
        await answer
    return caught.value.code


async def test_four_people_bring_a_release_into_service(
    terminal: Any, staff: Any, packages: Any, tmp_path: Any
) -> None:
    await packages("quick", staff["scientist"])
    rules, decisions = tmp_path / "rules.txt", tmp_path / "decisions.txt"
    rules.write_text("IF amount < 2000 THEN quick ELSE reject 'too much'")
    decisions.write_text("IF probability.bad < 0.3 THEN approve ELSE decline")

    assert "submitted" in await terminal("scientist", "submit quick@1")
    assert await refusal(terminal("scientist", "approve quick@1")) == "approval.own_work"
    assert await refusal(terminal("manager", "approve quick@1")) == "approval.report_unread"
    assert "approved" in await terminal("manager", "approve quick@1 --read")
    assert json.loads(await terminal("manager", "registry models --json"))["state"] == "approved"

    await terminal("manager", "endpoints create credit --slo p99_ms=5")
    line = f"endpoints draft credit --rules {rules} --decisions {decisions} --model quick=1"
    assert "revision" in await terminal("manager", line)
    assert await refusal(terminal("second", line + " --revision 0")) == "draft.stale"
    assert "gate.cost_unknown" in await terminal("manager", "endpoints check credit", exits=1)
    await terminal("manager", "endpoints diff credit")
    line, words = "releases propose credit --justification", "the first one"
    assert await refusal(terminal("manager", line, words)) == "release.findings"
    await terminal("manager", line, words, "--waive", "gate.cost_unknown")
    for line, code in (
        ("releases activate credit/1", "release.not_approved"),
        ("releases approve credit/1", "approval.own_edit"),
    ):
        assert await refusal(terminal("manager", line)) == code
    assert "approved" in await terminal("compliance", "releases approve credit/1")
    await terminal("manager", "releases activate credit/1")
    key = json.loads(await terminal("manager", "keys create credit --name web --json"))
    assert key["key"].startswith("ilk_")
    served = await terminal("manager", "endpoints served credit")
    assert "cora@bank.example" in served
    assert "dan@bank.example" in served
    assert "yes" in await terminal("manager", "endpoints suspend credit --reason drill")
    assert key["key"] not in await terminal("manager", "keys list")
    assert "release.activate" in await terminal("manager", "log --action release.")
    assert await terminal("manager", "users roles")


async def test_a_draft_with_errors_ends_its_check_with_status_1(
    terminal: Any, staff: Any, tmp_path: Any
) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("IF amuont < 2000 THEN quick ELSE quick")
    await terminal("manager", "endpoints create credit")
    await terminal("manager", f"endpoints draft credit --rules {rules}")
    assert "error" in await terminal("manager", "endpoints check credit", exits=1)


async def test_nobody_there_is_one_sentence(terminal: Any) -> None:
    line = "endpoints list --url http://127.0.0.1:1"
    assert await refusal(terminal("manager", line)) == "control_plane.unreachable"


async def test_sessions_are_kept_where_only_their_owner_reads(terminal: Any, tmp_path: Any) -> None:
    files = list((tmp_path / "config").rglob("sessions.json"))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]


async def test_review_and_incident_by_commands(
    terminal: Any, staff: Any, proposed: str, packages: Any
) -> None:
    await packages("quick", staff["scientist"], metrics={"auc": 0.9})
    before = datetime.now(UTC).isoformat()
    await terminal("compliance", "releases approve credit/1")
    await terminal("manager", "releases activate credit/1")
    now = json.loads(await terminal("manager", "endpoints served credit --json"))
    assert (now["number"], now["approvals"][0]["approver"]) == (1, "cora@bank.example")
    assert now["models"][0]["approved_by"] == ["max@bank.example"]
    then = json.loads(await terminal("manager", f"endpoints served credit --at {before} --json"))
    assert then["number"] is None
    line = f"endpoints served credit --at {now['at']} --known-at {before} --json"
    assert json.loads(await terminal("manager", line))["number"] is None
    assert "metrics.auc" in await terminal("manager", "registry compare quick 1 2")
    line = "releases rollback credit --to 1 --reason drill"
    assert await refusal(terminal("manager", line)) == "release.serving"
    assert "owner" in await terminal("manager", "endpoints change credit --slo p99_ms=7")
    assert "p99_ms 7" in await terminal("manager", "endpoints list")
    assert await refusal(terminal("manager", "endpoints change credit --slo p99_ms")) == "usage"
    line = "registry gates quick --set min_roc_auc=0.7 --set max_cost_us=100"
    assert "max_cost_us" in await terminal("manager", line)
    assert "0.7" in await terminal("scientist", "registry gates quick")
    assert await refusal(terminal("scientist", line)) == "permission.denied"


async def test_the_matrix_on_the_terminal_is_the_one_that_routes_enforce(terminal: Any) -> None:
    told = json.loads(await terminal("scientist", "users roles --json"))
    held = {row["name"]: set(row["permissions"]) for row in told["items"]}
    assert held == {name: set(words) for name, words in ROLES.items()}
    lines = (await terminal("scientist", "users roles")).split("\n\n")[0].splitlines()
    columns = lines[0].split()[1:]
    places = [lines[0].index(column) for column in columns]
    for line in lines[1:]:
        word = line.split()[0]
        shown = {c for c, at in zip(columns, places, strict=True) if line[at : at + 1] == "x"}
        assert shown == {role for role in columns if word in held[role]}, line
    assert len(lines) - 1 == len(PERMISSIONS)
