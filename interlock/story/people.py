"""Chapter: four people, four roles, a signing key for each, one roster under the root key."""

from __future__ import annotations

from typing import Any

import msgspec

from compiler.identity import Role, Roster, RosterKey, enrol, read_roster, roster_key, sign_roster
from compiler.signing import KeyPair, unb64
from interlock.stack.secrets import write_private
from interlock.story.cast import ADMIN, PEOPLE, SIGNERS
from interlock.story.narrator import StoryBrokenError
from interlock.story.scene import Scene


def play(scene: Scene) -> None:
    """Create whoever is missing."""
    scene.narrator.chapter("Four people, four roles, a signing key each")
    _bootstrap(scene)
    _hire(scene)
    _enrol(scene)


def _bootstrap(scene: Scene) -> None:
    """The one-time token of this installation makes the first superadmin."""
    token = (scene.home.secrets / "bootstrap.token").read_text().strip()
    body = {"name": ADMIN.name, "email": ADMIN.email, "password": scene.password(ADMIN)}
    shown = {"token": "(from secrets/bootstrap.token)", "name": ADMIN.name, "email": ADMIN.email}
    scene.narrator.asked("nobody yet", "POST", "/api/bootstrap", shown)
    answer = scene.anyone.call("POST", "/api/bootstrap", {"token": token, **body})
    scene.tell(answer, "email", "role")
    if answer.status in (200, 201):
        scene.narrator.check(answer.body["role"] == "superadmin", "the first superadmin exists")
        return
    try:
        scene.client(ADMIN)
    except StoryBrokenError:
        raise StoryBrokenError(
            "this home already has people of its own, and the story cannot sign in as one of them",
            code="story.foreign_home",
            at=str(scene.home.path),
            hint="play it in another home: interlock up --demo --home DIR",
        ) from None
    scene.narrator.check(
        answer.status in (403, 409), "the token works once; the people of the last run are here"
    )


def _hire(scene: Scene) -> None:
    known = {row["email"] for row in items(scene.read(ADMIN, "/api/users"))}
    for person in PEOPLE:
        if person.email in known:
            continue
        shown = {"name": person.name, "email": person.email, "role": person.role}
        answer = scene.ask(
            ADMIN,
            "POST",
            "/api/users",
            {**shown, "password": scene.password(person)},
            show=shown,
        )
        scene.tell(answer, "email", "role")
        scene.narrator.check(answer.status == 201, f"{person.name} works here as {person.says}")
    rows = items(scene.read(ADMIN, "/api/users"))
    roles = {row["email"]: row["role"] for row in rows}
    wanted = {person.email: person.role for person in PEOPLE}
    scene.narrator.check(
        wanted.items() <= roles.items(),
        "four roles: " + ", ".join(f"{p.name} ({p.says})" for p in PEOPLE),
        roles,
    )


def _enrol(scene: Scene) -> None:
    """Put every person's public key into the roster and sign it with the root key."""
    answer = scene.client(ADMIN).call("GET", "/api/roster")
    root = KeyPair.load(scene.home.secrets / "root.key")
    public = unb64((scene.home.secrets / "root.pub").read_text().strip())
    roster = read_roster(answer.body["envelope"], public)
    known = {key.id for key in roster.keys}
    wanted: list[RosterKey] = []
    for person in SIGNERS:
        pair = scene.signing_key(person)
        role: Role = "builder" if person.role == "data_scientist" else "approver"
        if pair.id not in known:
            wanted.append(roster_key(pair.public, person.email, role))
    if wanted:
        roster = _with(roster, wanted)
        signed = sign_roster(roster, root)
        envelope: Any = msgspec.json.decode(signed)
        names = {"version": roster.version, "new keys": [key.person for key in wanted]}
        answer = scene.ask(ADMIN, "PUT", "/api/roster", envelope, show=names)
        shown = {"version": answer.body.get("version"), "keys": len(answer.body.get("keys", ()))}
        scene.narrator.answered(answer, shown if answer.status < 400 else None)
        scene.narrator.check(
            answer.status == 200, "the roster is signed by the root key and counts"
        )
        # for commands that work without a server
        write_private(scene.home.secrets / "roster.json", signed)
    live = {key.person for key in roster.keys if key.revoked_at is None}
    scene.narrator.check(
        {person.email for person in SIGNERS} <= live,
        f"roster version {roster.version} knows everybody's public key; private keys stay in "
        f"{scene.home.people}",
    )


def _with(roster: Roster, entries: list[RosterKey]) -> Roster:
    """The next version with these keys: one version, however many keys."""
    grown = roster
    for entry in entries:
        grown = enrol(grown, entry)
    return Roster(roster.version + 1, roster.expires, grown.keys)


def items(body: Any) -> list[dict[str, Any]]:
    """Rows of a list answer, paged or not."""
    rows: list[dict[str, Any]] = body["items"] if isinstance(body, dict) else body
    return rows
