"""Swaps under load: what callers of a real router worker see while it changes releases."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec
import numpy as np

from compiler.identity import Roster, roster_key, sign_roster
from compiler.package import sign_package
from compiler.signing import KeyPair, b64, sign
from compiler.statements import (
    MODEL_APPROVAL,
    RELEASE,
    RELEASE_APPROVAL,
    ModelApproval,
    ReleaseApproval,
    ReleaseStatement,
    encode_statement,
    format_time,
)
from loadtest.bench.credit import OUTPUT
from loadtest.bench.model_parts import Trained
from loadtest.bench.models import Line
from loadtest.bench.node import free_port
from loadtest.bench.swapping import SIDES
from loadtest.errors import TargetError
from router.keys import KeyRow
from router.release.disk import write_snapshot
from router.release.spec import ModelRef, ReleaseBundle, ReleaseContent, canonical, digest
from router.settings import RouterSettings, encode_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P99_LIMIT = 1.3
RATE = 1000
"""Requests a second: well below what the worker can do, so that waiting shows."""
QUIET_S = 2.0
ROUNDS = 5
PERSON, APPROVER, MACHINE = "trainer@bench.example", "approver@bench.example", "bench"


def swaps(data: Path, folder: Path, count: int) -> list[Line]:
    """A hundred swaps between two releases under a caller that asks on schedule."""
    body, key = _write(data, folder)
    took: dict[str, list[float]] = {"quiet": [], "paced": [], "back-to-back": []}
    spent = dict.fromkeys(took, 0.0)
    failed = dict.fromkeys(took, 0)
    with _worker(folder) as (port, pipe_in, pipe_out):
        caller = _Caller(port, key, body)
        caller.until(_never, limit_s=0.5)  # warm
        for _ in range(ROUNDS):  # in turns: what else the machine does hits all alike
            for how, seen in took.items():
                over, limit_s = _never, QUIET_S
                if how != "quiet":
                    pipe_in.write(f"{how} {max(1, count // ROUNDS)}\n")
                    pipe_in.flush()
                    over, limit_s = _told(pipe_out), 300.0
                start = time.perf_counter()
                found, bad = caller.until(over, limit_s=limit_s)
                spent[how] += time.perf_counter() - start
                seen.extend(found)
                failed[how] += bad
    swapped = max(1, count // ROUNDS) * ROUNDS
    before = float(np.percentile(took["quiet"], 99))
    lines = [Line("swaps", f"p99 undisturbed, {RATE} requests/s", before, "us")]
    for how, limit in (("paced", f"<= {P99_LIMIT}"), ("back-to-back", "")):
        p99 = float(np.percentile(took[how], 99))
        words = "as the router paces them" if how == "paced" else "without the router's pace"
        lines += [
            Line("swaps", f"{swapped} swaps {words}", swapped / spent[how], "swaps/s"),
            Line("swaps", f"{how}: failed requests of {len(took[how])}", failed[how], "", "0"),
            Line("swaps", f"{how}: p99", p99, "us"),
            Line("swaps", f"{how}: p99 ratio", p99 / before, "x", limit),
        ]
    return lines


def _never() -> bool:
    """Only the time limit ends it."""
    return False


class _Caller:
    """Asks on schedule over one kept connection; latency counts from when a request was due."""

    def __init__(self, port: int, key: str, body: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def until(self, over: Callable[[], bool], *, limit_s: float) -> tuple[list[float], int]:
        """Microseconds of every request and how many failed, until over or the limit."""
        took: list[float] = []
        failed = 0
        start = due = time.perf_counter()
        while due - start < limit_s and not over():
            due += 1 / RATE
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)  # no spinning: it would take the core that the worker loads on
            self._socket.sendall(self._request)
            answer = self._socket.recv(65536)
            failed += not answer.startswith(b"HTTP/1.1 200")
            took.append((time.perf_counter() - due) * 1e6)
        return took, failed


def _told(pipe: IO[str]) -> Callable[[], bool]:
    """Whether the worker has said that it is done."""
    os.set_blocking(pipe.fileno(), False)
    return lambda: bool(pipe.readline())


@contextmanager
def _worker(folder: Path) -> Iterator[tuple[int, IO[str], IO[str]]]:
    settings = msgspec.json.decode((folder / "router.json").read_bytes())
    log = folder / "worker.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.bench.swapping", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != "ready":
                raise TargetError(f"the worker did not start:\n{log.read_text()[-2000:]}")
            yield settings["port"], process.stdin, process.stdout
        finally:
            process.stdin.close()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write(data: Path, folder: Path) -> tuple[bytes, str]:
    """Two releases of one endpoint, each with a model of its own; a body and a key."""
    root, approver, machine = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()
    now = datetime.now(UTC)
    until = format_time(now + timedelta(days=30))
    roster = Roster(
        1,
        until,
        (
            roster_key(machine.public, MACHINE, "builder", "releaser"),
            roster_key(approver.public, APPROVER, "approver"),
        ),
    )
    key = "ilk_" + secrets.token_urlsafe(32)
    keys = [KeyRow("bench", hashlib.sha256(key.encode()).digest(), ("credit",), ("*",))]
    body = b""
    for number, (side, estimator) in enumerate(
        zip(SIDES, ("gradient_boosting", "logistic_regression"), strict=True), 1
    ):
        trained = Trained(data, folder / "store" / "packages", estimator, flat=True)
        sign_package(trained.info.path, machine)
        body = msgspec.json.encode({"features": trained.row(0)})
        ref = ModelRef(estimator, 1, trained.info.digest)
        content = ReleaseContent(
            endpoint="credit",
            number=number,
            features=trained.features,
            output=OUTPUT,
            rules={"text": f"IF duration_in_month > 1000 THEN REJECT 'long' ELSE {estimator}"},
            models=(ref,),
            proposed_by=PERSON,
            created_at=format_time(now),
        )
        raw = canonical(content)
        release = ReleaseApproval("credit", number, digest(raw), APPROVER, format_time(now), until)
        model = ModelApproval(
            ref.package, ref.name, 1, (), "one approver", APPROVER, format_time(now), until
        )
        bundle = ReleaseBundle(
            raw,
            sign(
                RELEASE, encode_statement(ReleaseStatement("credit", number, digest(raw))), machine
            ),
            (sign(RELEASE_APPROVAL, encode_statement(release), approver),),
            (sign(MODEL_APPROVAL, encode_statement(model), approver),),
        )
        for cache in (folder / side, *([folder / "home" / "cache" / "router"] * (number == 1))):
            write_snapshot(cache, [bundle], keys, sign_roster(roster, root), roster_version=1)
    settings = RouterSettings(
        artifact_store=str(folder / "store"),
        home=folder / "home",
        spool_dir=folder / "spool",
        root_key=b64(root.public),
        port=free_port(),
        node="bench",
    )
    (folder / "router.json").write_bytes(encode_settings(settings))
    return body, key
