"""Chapters: the records of exactly those requests, and why one of them was declined."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from interlock.story.cast import COMPLIANCE, ENDPOINT
from interlock.story.narrator import StoryBrokenError
from interlock.story.scene import Scene
from interlock.story.serving import Given, Ledger

PAGE = 1000


def play_records(scene: Scene, given: list[Given]) -> None:
    """Every answer has its record, and it says the same."""
    scene.narrator.chapter("The evidence: one record for every answer")
    wanted = {answer.id: answer for answer in given}

    def found() -> list[dict[str, Any]]:
        rows = [_by_request(scene, answer.request_id) for answer in given]
        return [row for several in rows for row in several] if all(rows) else []

    scene.narrator.asked(
        COMPLIANCE.name, "GET", f"/api/audit/records?request_id={given[0].request_id}"
    )
    rows = scene.wait_for("the records to be shipped to PostgreSQL", found)
    scene.narrator.rows(
        "record", "subject", "rule", "model", "decision", "status", "µs",
        rows=[
            (
                f"{row['id']}", str(row["subject_ref"])[:20] + "…", row["rule"],
                f"{row['model']} v{row['version']}", str(row["decision"]), str(row["status"]),
                str(row["latency_us"]),
            )
            for row in rows
        ],
    )  # fmt: skip
    same = {
        row["id"]: (row["request_id"], row["rule"], row["model"], row["decision"]) for row in rows
    }
    expected = {a.id: (a.request_id, a.rule, a.model, a.decision) for a in wanted.values()}
    scene.narrator.check(
        same == expected and len(rows) == len(given),
        f"{len(rows)} answers, {len(rows)} records, field by field the same; subjects only as "
        "keyed hashes",
        {"got": same, "expected": expected},
    )


def _by_request(scene: Scene, request_id: str) -> list[dict[str, Any]]:
    path = "/api/audit/records?" + urlencode({"endpoint": ENDPOINT, "request_id": request_id})
    rows: list[dict[str, Any]] = scene.read(COMPLIANCE, path)["items"]
    return rows


def play_subject(scene: Scene, given: list[Given]) -> None:
    """Why was this applicant declined?"""
    declined = next((answer for answer in given if answer.decision == "decline"), None)
    if declined is None:
        raise StoryBrokenError("nobody was declined", at=str([a.decision for a in given]))
    scene.narrator.chapter(f"Why was {declined.subject} declined?")
    query = urlencode({"endpoint": ENDPOINT, "subject": declined.subject, "limit": 5})
    answer = scene.ask(COMPLIANCE, "GET", f"/api/audit/records?{query}")
    ids = [row["id"] for row in answer.body["items"]]
    scene.narrator.answered(answer, {"items": ids})
    scene.narrator.check(declined.id in ids, "the record is found by whom it is about", ids)

    def explained() -> dict[str, Any] | None:
        body: dict[str, Any] = scene.read(COMPLIANCE, f"/api/audit/records/{declined.id}")
        state = (body.get("explanation") or {}).get("state")
        return body if state not in (None, "pending") else None

    path = f"/api/audit/records/{declined.id}"
    scene.narrator.asked(COMPLIANCE.name, "GET", path)
    body = scene.wait_for("the explanation", explained)
    record, explanation = body.get("record", body), body["explanation"]
    scene.narrator.tell(
        f"decided {record['decided_at']} by {record['model']} v{record['version']}, rule "
        f"{record['rule']}, decision rule {record['decision_rule']}"
    )
    for who in _approvers(body):
        scene.narrator.tell(f"approved by {who}")
    for reason in explanation["reasons"]:
        scene.narrator.tell(f"because {reason}")
    total = float(explanation["base"]) + sum(map(float, explanation["phi"].values()))
    scene.narrator.check(
        len(explanation["reasons"]) > 0,
        f"SHAP values of {len(explanation['phi'])} features add up to the served "
        f"{explanation['space']} {total:+.3f}, residual {explanation['residual']:.1e}; "
        "the strongest reasons are told in words",
        explanation,
    )


def _approvers(body: dict[str, Any]) -> list[str]:
    found = []
    for approval in body.get("approvals", ()):
        who = approval.get("approver") or approval.get("person") or ""
        what = approval.get("what") or approval.get("model") or approval.get("kind") or ""
        found.append(f"{who} ({what})" if what else str(who))
    return found


def play_completeness(scene: Scene, ledger: Ledger, since: datetime) -> None:
    """Compare the callers' ledger with the records, after the kill."""
    wanted = set(ledger.acknowledged.values())

    def all_there() -> list[dict[str, Any]]:
        rows = list(_since(scene, since))
        return rows if wanted <= {row["id"] for row in rows} else []

    scene.narrator.tell("comparing the callers' ledger with the records")
    rows = scene.wait_for("every acknowledged answer to have its record", all_there, pause_s=0.3)
    ids = [row["id"] for row in rows]
    ours = {row["id"] for row in rows if row["request_id"] in ledger.acknowledged}
    extra = [row for row in rows if row["request_id"] in ledger.unanswered]
    scene.narrator.check(len(ids) == len(set(ids)), "no record is there twice")
    scene.narrator.check(
        ours == wanted,
        f"{len(wanted):,} acknowledged answers, {len(ours):,} records: nothing acknowledged is "
        f"missing ({len(extra)} more were decided, but their answer was lost with the worker)",
    )


def _since(scene: Scene, since: datetime) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        query = {"endpoint": ENDPOINT, "since": since.isoformat(), "limit": PAGE}
        path = "/api/audit/records?" + urlencode(query | ({"cursor": cursor} if cursor else {}))
        body = scene.read(COMPLIANCE, path)
        rows += body["items"]
        cursor = body.get("next") or body.get("cursor") or ""
        if not cursor:
            return rows
