"""Generator processes and the null server as children: started, watched, always ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from loadtest import record
from loadtest.driver import Job
from loadtest.errors import LoadTestError, TargetError
from loadtest.generator import Report
from loadtest.schedule import build_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadtest.plan import Plan

START_DELAY_S = 0.15
_CLOSED_MOST_PER_S = 200_000
_TICK_S = 0.1


class AgentClock(msgspec.Struct, frozen=True):
    """One agent's monotonic clock against the controller's.

    Attributes:
        agent: its address.
        requests: of the schedule that it sent.
        doubt_us: half the quickest round trip: its times may be wrong by so much.
        drift_us: how far the two clocks moved apart during the run.
    """

    agent: str
    requests: int
    doubt_us: float
    drift_us: float


class Raw(msgspec.Struct, frozen=True):
    """What a run left behind.

    Attributes:
        records: every request of the schedule, in order; unsent ones are pending.
        reports: one per generator process.
        start_ns: monotonic time of offset 0.
        end_ns: monotonic time of the end.
        interrupted: the run was ended from outside.
        wall_step_ns: how far the wall clock moved against the monotonic one.
        clocks: of the agents; empty when this machine sent.
    """

    records: record.Records
    reports: tuple[Report, ...]
    start_ns: int
    end_ns: int
    interrupted: bool
    wall_step_ns: int
    clocks: tuple[AgentClock, ...] = ()


class Fleet:
    """The generator processes of one run."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._jobs = _write_jobs(plan, folder)
        self._children: list[subprocess.Popen[str]] = []
        self.records = [record.open_records(Path(job.path), job.size) for job in self._jobs]

    def start(self, at_ns: int | None = None) -> int:
        """Start every process, wait for their connections, and return the start time in ns.

        Args:
            at_ns: when to start; default a moment after the last connection is open.

        Raises:
            TargetError: a connection could not be opened, or not before ``at_ns``.
        """
        for job in self._jobs:
            self._children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "loadtest.generator", job.path + ".job"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,  # Ctrl-C is for the parent, which then says stop
                )
            )
        for child in self._children:
            line = _line(child)
            if line != "ready":
                self.kill()
                raise TargetError(
                    _report(line).error or "a generator process ended before the start",
                    hint="is the endpoint running, and does it allow this many connections?",
                )
        start_ns = time.monotonic_ns() + int(START_DELAY_S * 1e9)
        if at_ns is not None:
            if at_ns < time.monotonic_ns():
                self.kill()
                raise TargetError("the connections were not open in time for the common start")
            start_ns = at_ns
        for child in self._children:
            self._say(child, f"go {start_ns}")
        return start_ns

    def running(self) -> bool:
        """True while any process works."""
        return any(child.poll() is None for child in self._children)

    def stop(self) -> None:
        """Send nothing more."""
        for child in self._children:
            self._say(child, "stop")

    def reports(self) -> tuple[Report, ...]:
        """Wait for the last line of each process."""
        return tuple(_report(_line(child)) for child in self._children)

    def kill(self) -> None:
        """End what still runs and release the pipes."""
        for child in self._children:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    @staticmethod
    def _say(child: subprocess.Popen[str], text: str) -> None:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(text + "\n")
            child.stdin.flush()


def execute(
    plan: Plan,
    watch: Callable[[list[record.Records], int], bool] | None = None,
    at_ns: int | None = None,
) -> Raw:
    """Run a checked plan to its end, or to Ctrl-C.

    Args:
        plan: checked and pre-flighted.
        watch: called about ten times per second with the live records and the start time; returning
            True ends the run early.
        at_ns: monotonic start time; default as soon as the connections are open.
    """
    folder = Path(tempfile.mkdtemp(prefix="interlock-loadtest-"))
    fleet = Fleet(plan, folder)
    interrupted = False
    try:
        start_ns = fleet.start(at_ns)
        wall = time.time_ns() - time.monotonic_ns()
        deadline = start_ns / 1e9 + plan.limits.max_seconds + plan.limits.timeout_s
        try:
            while fleet.running():
                time.sleep(_TICK_S)
                ended = watch is not None and watch(fleet.records, start_ns)
                if ended or time.monotonic() > deadline:
                    interrupted = True
                    fleet.stop()
                    break
        except KeyboardInterrupt:
            interrupted = True
            fleet.stop()
        reports = fleet.reports()
        end_ns = time.monotonic_ns()
        step = time.time_ns() - time.monotonic_ns() - wall
        records = record.merge([_started(part, plan, start_ns, end_ns) for part in fleet.records])
        return Raw(records, reports, start_ns, end_ns, interrupted, step)
    finally:
        fleet.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def null_server(
    *, cpu: int = -1, delay_ms: float = 0.0, status: int = 200
) -> Iterator[tuple[int, int]]:
    """A null server as a child; yields its port and process id."""
    flags = ["--cpu", str(cpu), "--delay-ms", str(delay_ms), "--status", str(status)]
    child = subprocess.Popen(
        [sys.executable, "-m", "loadtest.nullserver", *flags],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield int(_line(child)), child.pid
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _started(part: record.Records, plan: Plan, start_ns: int, end_ns: int) -> record.Records:
    """Cut what was never due: the rest of a closed loop's file, or of an interrupted schedule."""
    if plan.load.closed:
        return part.take(part.scheduled > 0)
    if len(part) and part.scheduled[0] < start_ns:  # ended before the generator added its start
        part.scheduled[:] += start_ns
    return part.take(part.scheduled <= end_ns)


def _write_jobs(plan: Plan, folder: Path) -> list[Job]:
    load, sender = plan.load, plan.sender
    if load.closed:
        span = load.measured_s + load.warmup_s
        size = int(min(plan.limits.max_requests, span * _CLOSED_MOST_PER_S))
        offsets = np.zeros(size, dtype=np.int64)
        sender = msgspec.structs.replace(sender, processes=min(sender.processes, load.closed))
    else:
        offsets = build_schedule(load)
    first, step = plan.share
    choice = choose_templates(plan, len(offsets))[first::step]
    offsets = offsets[first::step]
    count = sender.processes
    jobs = []
    for k in range(count):
        path = folder / f"records-{k}"
        mine = slice(k, None, count)
        size = len(offsets[mine])
        record.create(path, size)
        cells = record.open_records(path, size)
        if not load.closed:
            cells.scheduled[:] = offsets[mine]
        cells.choice[:] = choice[mine]
        job = Job(
            path=str(path),
            size=size,
            targets=plan.targets,
            templates=plan.templates,
            limits=msgspec.structs.replace(
                plan.limits, max_inflight=max(1, plan.limits.max_inflight // count)
            ),
            sender=msgspec.structs.replace(sender, connections=max(1, sender.connections // count)),
            statuses=plan.statuses,
            closed=load.closed // count + (k < load.closed % count),
            run_s=load.measured_s + load.warmup_s,
            cpu=sender.cpus[k % len(sender.cpus)] if sender.cpus else -1,
            seed=load.seed + k,
        )
        job_file = Path(job.path + ".job")
        job_file.touch(mode=0o600)  # the templates hold the caller's key
        job_file.write_bytes(msgspec.msgpack.encode(job))
        jobs.append(job)
    return jobs


def choose_templates(plan: Plan, count: int) -> np.ndarray:
    """Index of the template of each request, drawn by weight or in order; shape (count,)."""
    if plan.in_order:
        return np.arange(count) % len(plan.templates)
    weights = np.array(plan.weights or (1.0,) * len(plan.templates), dtype=np.float64)
    rng = np.random.default_rng([plan.load.seed, 2])
    chosen: np.ndarray = rng.choice(len(weights), size=count, p=weights / weights.sum())
    return chosen


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _report(line: str) -> Report:
    try:
        return msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        return Report(error="a generator process ended without its report")


def share_cores() -> tuple[int, ...]:
    """Cores this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def require_room(cpus: tuple[int, ...]) -> None:
    """Refuse cores that this process may not use.

    Raises:
        LoadTestError: naming the ones it may.
    """
    allowed = share_cores()
    if not set(cpus) <= set(allowed):
        raise LoadTestError(f"expected cores among {allowed}, got {cpus}", at="--cpus")
