import os
import signal
import time

import msgspec
import numpy as np
import pytest

from loadtest.errors import TargetError
from loadtest.plan import Limits, Load, Plan, Sender, Target, Template
from loadtest.processes import null_server
from loadtest.record import ABANDONED, GOOD, PENDING
from loadtest.requests import build_request
from loadtest.run import run
from loadtest.schedule import build_schedule, constant
from loadtest.statistics import nearest_rank


def plan_for(port, load, **fields):
    target = Target("127.0.0.1", port)
    template = Template(build_request(target, "/v1/predict", b'{"features":{}}'), "credit")
    plan = Plan((target,), (template,), load, sender=Sender(connections=8))
    return msgspec.structs.replace(plan, **fields)


@pytest.fixture(scope="module")
def port():
    with null_server() as (port, _):
        yield port


def test_every_request_of_the_schedule_is_sent_and_answered_once(port):
    load = Load(constant(400, 1), warmup_s=0.25)
    outcome = run(plan_for(port, load, sender=Sender(processes=2, connections=8)))
    records, start = outcome.raw.records, outcome.raw.start_ns
    assert np.array_equal(records.scheduled - start, build_schedule(load))
    assert (records.outcome == GOOD).all()
    assert (records.picked >= records.scheduled).all()
    assert (records.sent >= records.picked).all()
    assert (records.first >= records.sent).all()
    assert (records.last >= records.first).all()
    figures = outcome.summary.figures
    measured = np.count_nonzero(records.scheduled >= start + 250_000_000)
    assert (figures.requests, figures.samples) == (measured, measured)
    assert outcome.summary.local  # the null server may run on our cores


def test_connection_per_request_is_answered_as_well(port):
    sender = Sender(keep_alive=False)
    target = Target("127.0.0.1", port)
    template = Template(build_request(target, "/", b"{}", keep_alive=False))
    outcome = run(plan_for(port, Load(constant(100, 0.5)), sender=sender, templates=(template,)))
    assert set(outcome.summary.figures.outcomes) == {"good"}


def test_closed_loop_says_so(port):
    outcome = run(plan_for(port, Load(constant(0, 0.3), closed=4)))
    assert outcome.summary.loop == "closed, concurrency 4"
    assert outcome.summary.figures.requests > 4
    assert (outcome.raw.records.outcome == GOOD).all()


def test_failed_threshold_ends_with_99_and_kept_ones_with_0(port):
    load = Load(constant(200, 0.5))
    failing = run(plan_for(port, load, thresholds=("max<1us",))).summary
    assert failing.thresholds[0].verdict == "fail"
    held = run(plan_for(port, load, thresholds=("err<1%",))).summary
    assert held.thresholds[0].verdict == "pass"
    assert (held.exit_status == 0) == held.valid


def test_percentile_without_enough_samples_makes_the_run_invalid(port):
    summary = run(plan_for(port, Load(constant(100, 0.5)), thresholds=("p99<10s",))).summary
    assert summary.thresholds[0].verdict == "unknown"
    assert (summary.valid, summary.exit_status) == (False, 3)


def test_clients_that_walk_away_do_not_count_as_errors():
    with null_server(delay_ms=60) as (port, _):
        sender = Sender(connections=4, abandon=0.5, abandon_after_s=0.002)
        outcome = run(plan_for(port, Load(constant(200, 0.5)), sender=sender))
    kinds = set(outcome.raw.records.outcome.tolist())
    assert kinds == {GOOD, ABANDONED}
    assert outcome.summary.figures.error_share == 0


def test_wrong_answers_are_found_before_any_load(port):
    target = Target("127.0.0.1", port)
    data = build_request(target, "/", b"{}")
    for expect in ("decision=decline", "never in the answer"):
        with pytest.raises(TargetError, match="fails its check"):
            run(plan_for(port, Load(constant(9, 1)), templates=(Template(data, "", (expect,)),)))
    fine = (Template(data, "", ("decision=approve|refer", "good")),)
    outcome = run(plan_for(port, Load(constant(50, 0.2)), templates=fine, golden=True))
    assert set(outcome.summary.figures.outcomes) == {"good"}


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "key is refused"), (404, "no such endpoint"), (422, "payload does not fit"),
     (500, "expected status 200, got 500")],
)  # fmt: skip
def test_target_that_refuses_is_told_before_any_load(status, message):
    with null_server(status=status) as (port, _), pytest.raises(TargetError, match=message):
        run(plan_for(port, Load(constant(100, 1))))


def test_server_that_dies_leaves_errors_and_an_end():
    with null_server() as (port, pid):

        def kill_it(parts, start_ns):
            if any((part.outcome == GOOD).any() for part in parts):
                os.kill(pid, signal.SIGKILL)
            return False

        outcome = run(plan_for(port, Load(constant(200, 1.5))), watch=kill_it)
    figures = outcome.summary.figures
    assert figures.outcomes["connect"] > 0
    assert not (outcome.raw.records.outcome == PENDING).any()
    assert outcome.summary.figures.error_share > 0


def test_run_ended_early_keeps_what_was_measured(port):
    def enough(parts, start_ns):
        return any((part.outcome == GOOD).sum() > 20 for part in parts)

    outcome = run(plan_for(port, Load(constant(200, 60))), watch=enough)
    assert outcome.summary.interrupted
    assert outcome.summary.exit_status == 130
    assert 20 < outcome.summary.figures.requests < 60 * 200
    outcomes = outcome.summary.figures.outcomes
    assert outcomes["good"] > 20
    assert set(outcomes) <= {"good", "pending"}  # what was on the wire when it ended


def test_frozen_server_moves_corrected_p99_by_the_analytic_amount():
    """A stop from s to c leaves a request due at d waiting at least c - d, whatever the tool.

    Four connections stand for a tool that does not correct: only the four requests on the wire
    see the stop, so the uncorrected percentile hardly moves.
    """
    seconds, freeze_s = 3.0, 0.6
    moments = {}
    with null_server() as (port, pid):

        def freeze(parts, start_ns):
            now = time.monotonic_ns()
            if "stop" not in moments and now > start_ns + 1.0e9:
                os.kill(pid, signal.SIGSTOP)
                moments["stop"] = time.monotonic_ns()
            elif "go" not in moments and now > moments.get("stop", now) + freeze_s * 1e9:
                moments["go"] = time.monotonic_ns()
                os.kill(pid, signal.SIGCONT)
            return False

        limits = Limits(max_inflight=4)
        sender = Sender(connections=4)
        load = Load(constant(500, seconds), arrival="constant")
        outcome = run(plan_for(port, load, limits=limits, sender=sender), watch=freeze)
    due = outcome.raw.records.scheduled
    stopped = (due > moments["stop"]) & (due < moments["go"])
    analytic = np.sort(np.where(stopped, moments["go"] - due, 0)) / 1e3
    expected = nearest_rank(analytic, 0.99)
    p99 = next(p for p in outcome.summary.figures.percentiles if p.percentile == 0.99)
    assert expected > 500_000  # the stop was real
    assert expected - 2_000 <= p99.corrected <= expected * 1.25
    assert p99.uncorrected < expected / 5
    assert outcome.summary.figures.sent_share == 1.0


def test_closed_loop_ends_on_time_when_its_server_is_gone():
    with null_server() as (port, pid):

        def kill_it(parts, start_ns):
            if any((part.outcome == GOOD).any() for part in parts):
                os.kill(pid, signal.SIGKILL)
            return False

        outcome = run(plan_for(port, Load(constant(0, 0.8), closed=2)), watch=kill_it)
    assert not outcome.summary.interrupted
    assert outcome.raw.records.outcome[-1] != PENDING
