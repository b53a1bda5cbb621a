"""Router processes: killed, replaced, drained; what was answered is always in the spool."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from router.settings import HttpSettings
from serving.audit.frame import RECORD, SEAL
from serving.audit.record import decode_record
from serving.audit.recover import Frame, SegmentReader
from tests import router_world as world
from tests.router_process import Answer, RouterProcess, Wire, request

HTTP = HttpSettings(drain_s=5.0)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[RouterProcess]:
    world.publish(tmp_path)
    settings = world.settings_for(tmp_path, workers=2, http=HTTP)
    process = RouterProcess(settings, tmp_path / "log")
    try:
        yield process.wait_ready()
    finally:
        process.stop()


class Caller(threading.Thread):
    """Asks without pause until told to stop; keeps every answer and every broken connection."""

    def __init__(self, port: int, number: int, *, fresh: bool = False) -> None:
        super().__init__(name=f"caller-{number}", daemon=True)
        self.port, self.number, self.fresh = port, number, fresh
        self.answers: list[Answer] = []
        self.broken = 0
        self.enough = threading.Event()
        self.stopping = threading.Event()

    def run(self) -> None:
        self.wire: Wire | None = None
        try:
            self._ask()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self.wire is not None:
            self.wire.socket.close()
            self.wire = None

    def _ask(self) -> None:
        count = 0
        while not self.stopping.is_set():
            count += 1
            body = world.body(count % 900, id=f"{self.number}-{count}")
            try:
                if self.wire is None:
                    self.wire = Wire(self.port)
                answer = self.wire.send(request(body, key=world.ROUTING_KEY)).answer()
            except (OSError, EOFError):
                self.broken += 1
                self._leave()
                continue
            self.answers.append(answer)
            if len(self.answers) >= 100:
                self.enough.set()
            if self.fresh or b"connection" in answer.headers:
                self._leave()

    def stop(self) -> None:
        self.stopping.set()
        self.join(30)

    def another(self, count: int) -> None:
        """Wait for that many more answers."""
        target = len(self.answers) + count
        while len(self.answers) < target and self.is_alive():
            self.stopping.wait(0.005)


def records(spool: Path) -> dict[str, int]:
    """Status by id of every record in the spool."""
    found = {}
    for path in sorted(spool.glob("*/*.seg")):
        for frame in frames(path):
            if frame.kind == RECORD:
                record = decode_record(frame.payload)
                found[str(UUID(bytes=record.id))] = record.status
    return found


def frames(path: Path) -> list[Frame]:
    """Every frame of a segment whose writer is gone."""
    with SegmentReader(path) as reader:
        return list(reader.frames(dead=True))


@pytest.fixture
def callers(router: RouterProcess) -> Iterator[list[Caller]]:
    found = [Caller(router.port, n, fresh=n >= 3) for n in range(4)]
    for each in found:
        each.start()
    for each in found:
        each.enough.wait(30)
    yield found
    for each in found:
        each.stop()


def test_killed_worker_is_replaced_and_nothing_answered_is_missing(
    router: RouterProcess, callers: list[Caller]
) -> None:
    before = router.workers()
    for number in (0, 1):
        os.kill(before[number], signal.SIGKILL)
        for each in callers:
            each.another(100)
    after = router.workers()
    while sorted(after) != [0, 1]:
        callers[3].another(10)
        after = router.workers()
    assert not set(before.values()) & set(after.values())
    for each in callers:
        each.stop()
    assert router.stop() == 0
    kept = records(router.settings.spool_dir)
    answered = [answer for each in callers for answer in each.answers]
    assert {answer.status for answer in answered} == {200}
    assert len(answered) >= 1000
    missing = [answer for answer in answered if answer.json["id"] not in kept]
    assert not missing


def test_terminated_worker_is_replaced_without_a_failed_request(
    router: RouterProcess, callers: list[Caller]
) -> None:
    before = router.workers()
    os.kill(before[0], signal.SIGTERM)
    while before[0] in router.workers().values():
        callers[0].another(20)
    for each in callers:
        each.another(200)
        each.stop()
    assert [each.broken for each in callers] == [0, 0, 0, 0]
    assert {answer.status for each in callers for answer in each.answers} == {200}


def test_rolling_restart_fails_no_request(router: RouterProcess, callers: list[Caller]) -> None:
    before = set(router.workers().values())
    router.process.send_signal(signal.SIGHUP)
    while before & set(router.workers().values()):
        callers[0].another(20)
    for each in callers:
        each.another(100)
        each.stop()
    assert [each.broken for each in callers] == [0, 0, 0, 0]
    assert {answer.status for each in callers for answer in each.answers} == {200}


def test_termination_drains_seals_the_spool_and_exits_0(router: RouterProcess) -> None:
    with Wire(router.port) as wire:
        wire.send(request(world.body(1), key=world.ROUTING_KEY)).answer()
        router.process.send_signal(signal.SIGTERM)
        last = False
        while not last:
            answer = wire.send(request(world.body(2), key=world.ROUTING_KEY)).answer()
            assert answer.status == 200
            last = answer.headers.get(b"connection") == b"close"
        assert wire.closed()
    assert router.stop() == 0
    segments = sorted(router.settings.spool_dir.glob("*/*.seg"))
    assert len(segments) == 2
    assert [frames(path)[-1].kind for path in segments] == [SEAL, SEAL]
    assert router.log.read_text().count("stopped") == 2


def test_port_in_use_is_one_sentence(router: RouterProcess, tmp_path: Path) -> None:
    other = tmp_path / "other"
    world.publish(other)
    settings = world.settings_for(other, port=router.port)
    second = RouterProcess(settings, other / "log")
    assert second.process.wait(30) == 1
    assert "cannot listen on 127.0.0.1" in (other / "log").read_text()
