"""People: the first one, logging in, guessing, narrowing, service accounts, locking out."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

PASSWORD = "a long sentence nobody guesses"


async def test_bootstrap_cannot_be_replayed(house: Any) -> None:
    body = {"token": "open sesame", "name": "Eve", "email": "eve@x.example", "password": PASSWORD}
    admin = house.people["admin@bank.example"]
    assert await admin.refused("POST", "/bootstrap", body) == (409, "bootstrap.done")
    assert [row["email"] for row in (await admin.get("/users"))["items"]] == [admin.email]


async def test_guessing_locks_an_account_out_until_it_is_unlocked(house: Any, staff: Any) -> None:
    dan, admin = staff["scientist"], staff["admin"]
    wrong = {"email": dan.email, "password": "not the password"}
    for _ in range(5):
        assert await dan.refused("POST", "/login", wrong) == (401, "login.failed")
    right = {"email": dan.email.upper(), "password": PASSWORD}
    answer = await dan.call("POST", "/login", right)
    assert (answer.status, answer.code) == (429, "login.locked")
    assert int(answer.headers["retry-after"]) > 0
    assert await dan.get("/me")
    await admin.post(f"/users/{dan.email}/unlock")
    assert (await dan.call("POST", "/login", right)).status == 200


async def test_a_stranger_learns_nothing_about_who_exists(staff: Any) -> None:
    dan = staff["scientist"]
    known = await dan.call("POST", "/login", {"email": dan.email, "password": "wrong"})
    other = await dan.call("POST", "/login", {"email": "no@body.example", "password": "wrong"})
    assert known.raw == other.raw


async def test_a_session_ends_with_logout_password_and_lock_out(house: Any, staff: Any) -> None:
    dan, admin = staff["scientist"], staff["admin"]
    await dan.post("/logout")
    assert await dan.refused("GET", "/me") == (401, "session.unknown")
    await house.log_in(dan)
    new = "another sentence, quite long"
    assert await dan.refused("POST", "/password", {"old": "x", "new": new}) == (
        401,
        "login.failed",
    )
    await dan.post("/password", {"old": PASSWORD, "new": new})
    assert await dan.refused("GET", "/me") == (401, "session.unknown")
    dan.token = (await dan.post("/login", {"email": dan.email, "password": new}))["token"]
    answer = await admin.call("PATCH", f"/users/{dan.email}", {"disabled": True})
    assert answer.status == 200
    assert await dan.refused("GET", "/me") == (401, "session.unknown")
    body = {"email": dan.email, "password": new}
    assert await dan.refused("POST", "/login", body) == (401, "login.failed")


async def test_permissions_narrow_and_widen_but_never_across_duties(staff: Any) -> None:
    admin, manager = staff["admin"], staff["manager"]
    path = f"/users/{manager.email}"
    await manager.post("/endpoints", {"name": "credit"})
    await admin.call("PATCH", path, {"denied": ["endpoints"]})
    assert await manager.refused("POST", "/endpoints", {"name": "b"}) == (403, "permission.denied")
    await admin.call("PATCH", path, {"denied": [], "allowed": ["datasets.write"]})
    assert "datasets.write" in (await manager.get("/me"))["permissions"]
    for allowed in (["runs.write"], ["models"], ["users.write"]):
        assert await admin.refused("PATCH", path, {"allowed": allowed}) == (
            403,
            "permission.apart",
        )
    assert await admin.refused("PATCH", path, {"allowed": ["fly"]}) == (422, "permission.unknown")
    assert await admin.refused("PATCH", f"/users/{admin.email}", {"role": "manager"}) == (
        403,
        "user.self",
    )


async def test_a_role_changed_later_does_not_wash_old_work(staff: Any, submitted: str) -> None:
    dan, admin = staff["scientist"], staff["admin"]
    answer = await admin.call("PATCH", f"/users/{dan.email}", {"role": "manager"})
    assert answer.status == 200
    await dan.read_reports(submitted)
    assert await dan.refused("GET", submitted + "/statement") == (403, "approval.own_work")


async def test_service_accounts_act_within_scope_and_owner(house: Any, staff: Any) -> None:
    admin, manager = staff["admin"], staff["manager"]
    wrong = {"name": "ci", "owner": manager.email, "role": "data_scientist"}
    assert await admin.refused("POST", "/services", wrong) == (422, "service.role")
    robot = await admin.post("/services", {**wrong, "role": "manager"})
    path = f"/services/{robot['email']}/tokens"
    made = await admin.post(path, {"name": "deploy", "scope": ["endpoints.read"]})
    bot = type(manager)(house, robot["email"], manager.key)
    bot.token = made["token"]
    assert await bot.get("/endpoints") == {"items": [], "next": None}
    assert await bot.refused("POST", "/endpoints", {"name": "x"}) == (403, "permission.denied")
    body = {"email": robot["email"], "password": ""}
    assert (await bot.call("POST", "/login", {**body, "password": "x"})).status == 401
    assert made["token"] not in str(await admin.get(path))
    await admin.call("DELETE", f"{path}/{made['id']}")
    assert await bot.refused("GET", "/endpoints") == (401, "session.unknown")
    again = await admin.post(path, {"name": "again"})
    bot.token = again["token"]
    await admin.call("PATCH", f"/users/{manager.email}", {"disabled": True})
    assert await bot.refused("GET", "/endpoints") == (401, "session.unknown")


async def test_every_write_is_in_the_log_with_who_and_what(staff: Any) -> None:
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit"})
    await manager.post("/keys", {"endpoint": "credit", "name": "web"})
    rows = (await manager.get(f"/log?actor={manager.email}"))["items"]
    assert [row["action"] for row in rows] == ["key.create", "endpoint.create", "login"]
    rows = (await manager.get("/log?action=user."))["items"]
    assert {row["action"] for row in rows} == {"user.create"}


async def test_the_log_is_asked_by_the_beginning_of_what_was_done(staff: Any, db: Any) -> None:
    await db.execute(
        "INSERT INTO admin_log (actor, action, subject) SELECT 'x@bank.example', word, n::text"
        " FROM generate_series(1, 40) n, unnest(ARRAY['model.a', 'model.b', 'models', 'Model.a',"
        " 'key.create', 'key', 'zz', 'ümlaut']) word ORDER BY n, word"
    )
    manager = staff["manager"]
    kept = await db.fetch("SELECT id, action FROM admin_log ORDER BY id DESC")
    for prefix in ("model.", "model", "key", "key.create", "z", "ü", "nothing", "%", "M"):
        found: list[int] = []
        cursor = ""
        while True:
            page = await manager.get(f"/log?action={quote(prefix)}&limit=37&cursor={cursor}")
            found += [row["id"] for row in page["items"]]
            cursor = page["next"]
            if not cursor:
                break
        wanted = [row["id"] for row in kept if row["action"].startswith(prefix)]
        assert found == wanted, prefix
    both = await manager.get("/log?action=key&actor=x@bank.example&limit=500")
    assert len(both["items"]) == 80
