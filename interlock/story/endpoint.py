"""Chapter: a routing change, proposed by one person, approved by another, live; and a key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from compiler.signing import sign
from compiler.statements import RELEASE_APPROVAL, ReleaseApproval, encode_statement, format_time
from interlock.story import cast
from interlock.story.cast import COMPLIANCE, ENDPOINT, MANAGER
from interlock.story.client import Client
from interlock.story.people import items
from interlock.story.scene import Scene

PATH = f"/api/endpoints/{ENDPOINT}"
NO_DRAFT = '"0"'
"""What the first edit of a draft must match."""


def play(scene: Scene, versions: dict[str, int]) -> None:
    """Bring the endpoint into service, unless it is."""
    scene.narrator.chapter("The manager routes by rules; a second person has to agree")
    live = _live_release(scene)
    if live is None:
        _draft(scene, versions)
        _publish(scene)
    else:
        scene.narrator.check(True, f"endpoint {ENDPOINT} is live with release {live}")
    _key(scene)
    _wait_live(scene)


def _live_release(scene: Scene) -> int | None:
    answer = scene.client(MANAGER).call("GET", PATH)
    if answer.status != 200:
        return None
    number: int | None = answer.body["serving"]
    return number


def _draft(scene: Scene, versions: dict[str, int]) -> None:
    """Endpoint, rule table and decision table; checked before anybody is asked."""
    if scene.client(MANAGER).call("GET", PATH).status == 404:
        body = {
            "name": ENDPOINT,
            "owner": MANAGER.email,
            "slo": {"p99_ms": 5.0, "availability": 0.999},
        }
        answer = scene.tell(scene.ask(MANAGER, "POST", "/api/endpoints", body), "name", "owner")
        scene.narrator.check(answer.status == 201, f"endpoint {ENDPOINT} has an owner", answer.body)
    for title, text in (("rules", cast.RULES), ("decision table", cast.DECISIONS)):
        scene.narrator.tell(f"{title}:")
        for line in text.rstrip().splitlines():
            scene.narrator.tell(f"    {line}")
    found = scene.client(MANAGER).call("GET", f"{PATH}/draft")
    body = {
        "rules": {"text": cast.RULES},
        "decision_table": {"text": cast.DECISIONS},
        "models": versions,
        "policies": {"explain": "adverse"},
    }
    shown = {"rules": "(above)", "decision_table": "(above)", "models": versions}
    headers = {"If-Match": found.headers.get("etag", NO_DRAFT)}
    answer = scene.ask(MANAGER, "PUT", f"{PATH}/draft", body, show=shown, headers=headers)
    scene.tell(answer, "revision")
    scene.narrator.check(answer.status == 200, "the draft is kept", answer.body)
    answer = scene.ask(MANAGER, "POST", f"{PATH}/draft/check")
    findings = answer.body.get("findings", []) if answer.status < 400 else answer.body
    levels = [finding.get("level") for finding in findings] if answer.status < 400 else []
    scene.narrator.answered(answer, {"findings": levels} if answer.status < 400 else None)
    scene.narrator.check(
        answer.status < 300 and "error" not in levels,
        "every rule can fire, none contradicts itself, none reads a protected feature",
        findings,
    )


def _publish(scene: Scene) -> None:
    """Propose, fail alone, be approved, activate."""
    body = {"justification": "First table: quick answers for small loans, care for large ones."}
    answer = scene.ask(MANAGER, "POST", f"{PATH}/releases", body)
    scene.tell(answer, "id", "number", "state", "digest")
    scene.narrator.check(answer.status == 201, "the release is proposed", answer.body)
    release, number = answer.body["id"], answer.body["number"]
    path = f"/api/releases/{release}"

    answer = scene.tell(scene.ask(MANAGER, "POST", f"{path}/activate"))
    scene.narrator.check(
        (answer.status, answer.code) == (409, "release.not_approved"),
        "activating it alone is refused",
        answer.body,
    )
    envelope = _own_approval(scene, path)
    shown = {"envelope": "worded and signed by Max, who edited the draft"}
    answer = scene.ask(MANAGER, "POST", f"{path}/approve", {"envelope": envelope}, show=shown)
    scene.tell(answer)
    scene.narrator.check(
        (answer.status, answer.code) == (403, "approval.own_edit"),
        "approving one's own edit is refused",
        answer.body,
    )
    statement = scene.read(COMPLIANCE, f"{path}/statement")
    envelope = scene.sign_statement(COMPLIANCE, statement)
    shown = {"envelope": f"statement signed by {scene.signing_key(COMPLIANCE).id}"}
    answer = scene.ask(COMPLIANCE, "POST", f"{path}/approve", {"envelope": envelope}, show=shown)
    scene.tell(answer, "state")
    scene.narrator.check(answer.status < 300, "the compliance manager approves", answer.body)
    answer = scene.tell(scene.ask(MANAGER, "POST", f"{path}/activate"), "endpoint", "number")
    scene.narrator.check(answer.status < 300, f"release {number} is activated", answer.body)


def _own_approval(scene: Scene, path: str) -> str:
    """An approval of the release by the person who proposed it, with a perfectly good key."""
    release, now = scene.read(MANAGER, path), datetime.now(UTC)
    statement = ReleaseApproval(
        endpoint=release["endpoint"],
        number=release["number"],
        content=release["digest"],
        approver=MANAGER.email,
        issued_at=format_time(now),
        expires_at=format_time(now + timedelta(days=30)),
    )
    key = scene.signing_key(MANAGER)
    return sign(RELEASE_APPROVAL, encode_statement(statement), key).decode()


def _key(scene: Scene) -> None:
    """A routing key, shown once and kept for the next run of the story."""
    if scene.memory.key:
        rows = items(scene.read(MANAGER, "/api/keys"))
        known = [row for row in rows if row["id"] == scene.memory.key_id]
        if known and not known[0].get("revoked_at"):
            scene.narrator.check(True, f"routing key {scene.memory.key_id} is in use")
            return
    body = {"endpoint": ENDPOINT, "name": "loan-desk"}
    answer = scene.ask(MANAGER, "POST", "/api/keys", body)
    shown: dict[str, Any] | None = None
    if answer.status < 400:
        scene.memory.key, scene.memory.key_id = answer.body["key"], answer.body["id"]
        scene.remember()
        shown = {"id": answer.body["id"], "key": answer.body["key"][:12] + "…"}
    scene.narrator.answered(answer, shown)
    scene.narrator.check(
        answer.status == 201, "a routing key is issued; the database keeps only its hash"
    )


def _wait_live(scene: Scene) -> None:
    """Every router worker has the release and the key."""
    client = Client(scene.router_url, token=scene.memory.key, stopped=scene.stopped)
    features = cast.records()[cast.applicants()[0].row]

    def answered() -> bool:
        try:
            found = client.call("POST", f"/v1/predict/{ENDPOINT}", {"features": features})
        except OSError:
            return False
        finally:
            client.close()  # a new connection may meet another worker
        return found.status == 200

    def all_loaded() -> bool:
        return all(answered() for _ in range(8))

    scene.wait_for(f"endpoint {ENDPOINT} to be live", all_loaded, longest_s=30)
    scene.narrator.check(
        True, "it is live: every router worker checked the signatures and loaded it"
    )
