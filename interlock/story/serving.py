"""Chapters: requests and their answers, errors that explain themselves, a killed worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from msgspec import Struct

from interlock.story import cast
from interlock.story.cast import ENDPOINT, MANAGER
from interlock.story.client import Client
from interlock.story.people import items
from interlock.story.scene import Scene

PREDICT = f"/v1/predict/{ENDPOINT}"
LOAD_S = 2.0
KILL_AFTER_S = 0.7
CALLERS = 4


class Given(Struct, frozen=True):
    """An answer that was given, as the client noted it."""

    id: str
    request_id: str
    subject: str
    rule: str
    model: str
    decision: str


def play_requests(scene: Scene) -> list[Given]:
    """Applicants who take different routes."""
    scene.narrator.chapter("Requests choose their model by their own features")
    client = Client(scene.router_url, token=scene.memory.key, stopped=scene.stopped)
    rows, given = cast.records(), list[Given]()
    table: list[tuple[str, ...]] = []
    run = uuid4().hex[:8]
    for number, applicant in enumerate(cast.applicants()):
        features = rows[applicant.row]
        request_id = f"{run}-{number}"
        request = {"features": features, "subject": applicant.subject, "id": request_id}
        if number == 0:
            scene.narrator.asked("loan desk", "POST", PREDICT, request)
        started = time.perf_counter()
        answer = client.call("POST", PREDICT, request)
        took_ms = (time.perf_counter() - started) * 1000
        if number == 0:
            scene.tell(answer)
        if answer.status != 200:
            scene.narrator.check(False, f"{applicant.subject} is answered", answer.body)
        body = answer.body
        given.append(
            Given(
                body["id"], request_id, applicant.subject, body["rule"], body["model"],
                body["decision"],
            )
        )  # fmt: skip
        table.append(
            (
                f"{applicant.subject}",
                f"{features['credit_amount']:,} DM, {features['duration_in_month']} months",
                body["rule"],
                f"{body['model']} v{body['version']}",
                f"{body['outputs']['probability']['bad']:.3f}",
                f"{body['decision']} ({body['decision_rule']})",
                f"{took_ms:.1f}",
            )
        )
    columns = ("applicant", "asks for", "rule", "model", "p(bad)", "decision", "ms")
    scene.narrator.rows(*columns, rows=table)
    expected = [(a.rule, cast.ROUTES[a.rule]) for a in cast.applicants()]
    got = [(answer.rule, answer.model) for answer in given]
    scene.narrator.check(
        got == expected, "every request was answered by the model of its rule", got
    )
    client.close()
    return given


def play_errors(scene: Scene) -> None:
    """Errors that say what was expected, what was found and where."""
    scene.narrator.chapter("A bad request, a wrong key, an unknown feature")
    features = cast.records()[0]
    key = Client(scene.router_url, token=scene.memory.key, stopped=scene.stopped)
    stranger = Client(scene.router_url, token="ilk_" + "x" * 40, stopped=scene.stopped)
    wrong = {**features, "credit_amount": "a lot", "shoe_size": 43}
    del wrong["purpose"]
    json = {"Content-Type": "application/json"}
    cases: tuple[tuple[str, Client, Any, int, str], ...] = (
        ("a body that is not JSON", key, b'{"features": {', 400, "body.json"),
        ("a key nobody issued", stranger, {"features": features}, 401, "key.unknown"),
        ("an unknown feature", key, {"features": {**features, "shoe_size": 43}}, 422,
         "features.unknown"),
        ("three mistakes at once", key, {"features": wrong}, 422, ""),
    )  # fmt: skip
    for what, client, body, status, code in cases:
        scene.narrator.asked(f"loan desk, {what}", "POST", PREDICT, _short(body))
        answer = scene.tell(client.call("POST", PREDICT, body, headers=json))
        scene.narrator.check(
            answer.status == status and (not code or answer.code == code),
            f"{status} {answer.code}: {answer.body.get('detail', '')}",
            answer.body,
        )
    found = {error.get("code", error.get("at", "")) for error in answer.body.get("errors", ())}
    scene.narrator.check(len(answer.body["errors"]) == 3, "all three are listed at once", found)
    key.close()
    stranger.close()


def _short(body: Any) -> Any:
    return body.decode() if isinstance(body, bytes) else body


class Ledger:
    """What the callers of the load noted: a request counts as acknowledged once it is answered."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        """Record id by request id."""
        self.unanswered: set[str] = set()
        """Sent, but the connection broke: answered or not, nobody can know."""
        self.refused: list[str] = []
        self.lock = threading.Lock()


def play_kill(scene: Scene) -> tuple[Ledger, datetime]:
    """Kill a router worker under load; the ledger of the callers and the time before."""
    scene.narrator.chapter("A router worker is killed under load")
    since = datetime.now(UTC)
    victim = _victim(scene)
    ledger, stop = Ledger(), threading.Event()
    run = uuid4().hex[:8]
    callers = [
        threading.Thread(target=_call_on, args=(scene, ledger, stop, f"{run}-{n}"), daemon=True)
        for n in range(CALLERS)
    ]
    scene.narrator.tell(f"{CALLERS} callers send requests for {LOAD_S:.0f} s")
    for caller in callers:
        caller.start()
    scene.stopped.wait(KILL_AFTER_S)
    os.kill(victim, signal.SIGKILL)
    scene.narrator.tell(f"SIGKILL to router worker {victim}")
    scene.stopped.wait(LOAD_S - KILL_AFTER_S)
    stop.set()
    for caller in callers:
        caller.join()
    scene.narrator.tell(
        f"{len(ledger.acknowledged):,} answers acknowledged, {len(ledger.unanswered)} connections "
        f"broke without an answer"
    )
    scene.narrator.check(
        len(ledger.acknowledged) > CALLERS and not ledger.refused,
        "callers kept being answered",
        ledger.refused[:3],
    )

    def replaced() -> int | None:
        pids = worker_pids(scene)
        return len(pids) if len(pids) == scene.workers else None

    count = scene.wait_for("the killed worker to be replaced", replaced, longest_s=20)
    scene.narrator.check(True, f"it was replaced; workers that serve: {count}")
    return ledger, since


def _victim(scene: Scene) -> int:
    pids = scene.wait_for("the router to report its workers", lambda: worker_pids(scene))
    return int(pids[0])


def worker_pids(scene: Scene) -> list[int]:
    """Process ids of this stack's router workers, as they report themselves.

    A number alone is not trusted: a worker that is gone may have left it to another process.
    """
    rows = items(scene.read(MANAGER, "/api/nodes"))
    return [row["pid"] for row in rows if row["alive"] and _is_worker(row["pid"], scene.home.path)]


def _is_worker(pid: int, home: Path) -> bool:
    folder = Path("/proc") / str(pid)
    try:
        words, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
    except OSError:
        return False
    return b"interlock router" in words and f"INTERLOCK_HOME={home}\0".encode() in environment


def _call_on(scene: Scene, ledger: Ledger, stop: threading.Event, name: str) -> None:
    """One caller: sends the next request when the last one was answered."""
    client = Client(scene.router_url, token=scene.memory.key, stopped=scene.stopped)
    rows = cast.records()
    number = 0
    while not stop.is_set() and not scene.stopped.is_set():
        number += 1
        request_id = f"{name}-{number}"
        body = {"features": rows[number % len(rows)], "id": request_id}
        try:
            answer = client.call("POST", PREDICT, body)
        except OSError:
            with ledger.lock:
                ledger.unanswered.add(request_id)
            continue
        with ledger.lock:
            if answer.status == 200:
                ledger.acknowledged[request_id] = answer.body["id"]
            else:
                ledger.refused.append(f"{answer.status} {answer.body}")
    client.close()
