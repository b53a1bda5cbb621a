"""What an endpoint's policies promise: a full spool, extra features, suspension, durability."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from compiler.schema import Feature
from router.decide import Decider, native_answer
from router.desk import Desk
from router.errors import FeaturesError, ShedError
from router.metrics.slots import Counters, sum_files
from router.problem import status_of
from router.release.build import assemble
from router.release.spec import Policies, ReleaseContent
from router.settled import Settled
from router.stages import BY_THREAD, STAGES, UNTIMED
from router.subject import SubjectHasher
from router.wire.native import decode_row
from serving.audit.frame import RECORD
from serving.audit.record import AuditRecord, decode_record
from serving.audit.recover import SegmentReader
from serving.audit.room import SpoolFull
from serving.audit.segment import SegmentWriter
from serving.engine import Engine
from tests import router_world as world

NOW_NS = 1_790_000_000_000_000_000


class Bench:
    """One endpoint on a real spool and real models, without HTTP."""

    def __init__(self, folder: Path, content: ReleaseContent, **spool: Any) -> None:
        self.folder = folder
        models = {
            ref.name: Engine.load(folder / "packages" / ref.package.removeprefix("sha256:"))
            for ref in content.models
        }
        self.endpoint = assemble(content, "sha256:x", models)
        self.spool = SegmentWriter(folder / "spool", "test", 0, **spool)
        self.counters = Counters(folder / "metrics", 0)
        self.desk = Desk("test", 0, self.spool, self.counters, SubjectHasher(b"s" * 32))
        self.decider = Decider(self.endpoint, self.desk)

    def ask(self, body: bytes, **fields: Any) -> dict[str, Any]:
        row = decode_row(body)
        started = fields.get("started", UNTIMED)
        trail = ("key-1", NOW_NS, started, fields.get("trace"), None)
        settled: Settled = self.decider.one(row, trail)
        return msgspec.json.decode(native_answer(row, settled))

    def records(self) -> list[AuditRecord]:
        self.spool.close()
        found = []
        for path in sorted((self.folder / "spool" / "test").glob("*.seg")):
            with SegmentReader(path) as reader:
                frames = [each for each in reader.frames(dead=True) if each.kind == RECORD]
                found += [decode_record(each.payload) for each in frames]
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(policies: Policies | None = None, **fields: Any) -> Bench:
        spool = {"segment_bytes": 1 << 16, **fields.pop("spool", {})}
        given = policies or Policies(timeout_ms=600_000_000)
        content = world.credit(tmp_path, policies=given, **fields)
        made.append(Bench(tmp_path, content, **spool))
        return made[-1]

    yield make
    for each in made:
        each.spool.close()
        each.counters.close()


def policies(**fields: Any) -> Policies:
    return Policies(timeout_ms=600_000_000, **fields)


def test_record_holds_what_an_examiner_asks_for(bench: Callable[..., Bench]) -> None:
    found = bench()
    body = world.body(3, id="r1", subject="47392")
    answer = found.ask(body, trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    (record,) = found.records()
    assert str(UUID(bytes=record.id)) == answer["id"]
    assert (record.endpoint, record.release, record.rule) == ("credit", 7, "default")
    assert (record.model, record.version) == ("standard_underwriting", 1)
    assert record.package_digest == found.endpoint.content.models[1].package
    assert (record.key_id, record.request_id, record.status) == ("key-1", "r1", 200)
    assert msgspec.json.decode(record.features) == world.row(3)
    assert msgspec.json.decode(record.outputs or b"") == answer["outputs"]
    assert record.decision == answer["decision"]
    assert record.subject_ref == SubjectHasher(b"s" * 32).ref("47392")
    assert "47392" not in str(record.subject_ref)
    assert record.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_timed_request_is_decided_and_recorded_as_any_other(bench: Callable[..., Bench]) -> None:
    found = bench()
    started = time.perf_counter_ns() & ~(BY_THREAD | UNTIMED)
    starts = (started + 1, started, started | BY_THREAD)
    plain, timed, by_thread = (found.ask(world.body(3), started=at) for at in starts)
    known = sum_files(found.folder / "metrics")
    ours = '{endpoint="credit",release="7"'
    assert known[f"interlock_stage_samples_total{ours}}}"] == 1
    spent = [
        known[f'interlock_stage_duration_seconds_total{ours},stage="{name}"}}'] for name in STAGES
    ]
    assert min(spent) > 0
    scored = f'{ours},model="standard_underwriting",version="1"}}'
    assert known[f"interlock_model_cpu_samples_total{scored}"] == 1
    assert known[f"interlock_model_cpu_seconds_total{scored}"] > 0
    assert sum(spent) <= time.perf_counter_ns() - started
    assert plain | {"id": ""} == timed | {"id": ""} == by_thread | {"id": ""}
    same = {"id": b"", "decided_ns": 0, "latency_us": 0}
    first, second, third = (msgspec.structs.replace(each, **same) for each in found.records())
    assert first == second == third


def test_timed_request_that_is_refused_is_recorded_and_not_counted(
    bench: Callable[..., Bench],
) -> None:
    found = bench()
    with pytest.raises(FeaturesError):
        found.ask(world.body(3, change={"credit_amount": "many"}), started=0)
    known = sum_files(found.folder / "metrics")
    assert known['interlock_stage_samples_total{endpoint="credit",release="7"}'] == 0
    assert [record.status for record in found.records()] == [422]


def test_refused_features_leave_a_record_with_their_problem(bench: Callable[..., Bench]) -> None:
    found = bench()
    with pytest.raises(FeaturesError):
        found.ask(world.body(3, change={"credit_amount": "many"}))
    (record,) = found.records()
    assert (record.status, record.model, record.outputs) == (422, None, None)
    assert msgspec.json.decode(record.error or b"")["code"] == "features.type"


def test_full_spool_sheds_and_loses_nothing_that_was_answered(bench: Callable[..., Bench]) -> None:
    found = bench(spool={"spool_limit_bytes": 2 << 16})
    answered = 0

    def until_refused() -> None:
        nonlocal answered
        while True:
            found.ask(world.body(3))
            answered += 1

    with pytest.raises(SpoolFull) as caught:
        until_refused()
    assert status_of(caught.value) == 503
    assert caught.value.code == "audit.full"
    assert len(found.records()) == answered > 50


def test_full_spool_may_drop_and_counts_what_it_dropped(bench: Callable[..., Bench]) -> None:
    found = bench(policies(spool_full="drop_new"), spool={"spool_limit_bytes": 2 << 16})
    for _ in range(300):
        assert found.ask(world.body(3))["decision"]
    name = "interlock_audit_records_dropped_total"
    dropped = sum_files(found.folder / "metrics")[name]
    assert dropped == found.spool.dropped > 0
    assert len(found.records()) + dropped == 300


def test_unknown_features_are_ignored_and_counted_by_name(bench: Callable[..., Bench]) -> None:
    found = bench(policies(extra="ignore"))
    assert found.ask(world.body(3, change={"hat": "blue"}))["decision"]
    for number in range(200):
        found.ask(world.body(3, change={f"x{number}": 1}))
    counted = sum_files(found.folder / "metrics")
    names = [name for name in counted if name.startswith("interlock_features_tolerated_total")]
    assert any("features.unknown:hat" in name for name in names)
    assert len(names) <= 65
    assert sum(counted[name] for name in names) == 201


def test_rules_count_what_they_fired_did_not_know_and_took_as_missing(
    bench: Callable[..., Bench],
) -> None:
    def change(known: dict[str, Feature]) -> dict[str, Feature]:
        name = "credit_amount"
        return {**known, name: msgspec.structs.replace(known[name], nullable=True)}

    text = (
        "IF credit_amount < 2000 THEN quick_approval "
        "ELSE IF credit_amount > 9000 AND duration_in_month > 6 THEN standard_underwriting "
        "ELSE REJECT 'no amount'"
    )
    found = bench(policies(input="lenient"), change=change, rules={"text": text})
    for _ in range(3):
        found.ask(world.body(3, change={"credit_amount": "many", "duration_in_month": 6}))
    found.ask(world.body(3, change={"credit_amount": 5, "duration_in_month": 6}))
    counted = sum_files(found.folder / "metrics")

    def at(name: str, rule: str) -> int:
        return sum(
            value
            for key, value in counted.items()
            if key.startswith(name + "{") and f'rule="{rule}"' in key and 'endpoint="credit"' in key
        )

    assert at("interlock_route_decisions_total", "default") == 3
    assert at("interlock_route_decisions_total", "rule1") == 1
    assert at("interlock_rule_unknown_total", "rule1") == 3
    assert at("interlock_rule_type_errors_total", "rule1") == 3
    assert at("interlock_rule_type_errors_total", "rule2") == 3
    records = found.records()
    assert records[0].unknown[0] == "rule1"
    decided = [record.decision_rule for record in records if record.decision_rule]
    assert len(decided) == 1
    assert at("interlock_decision_rules_total", decided[0]) == 1


def test_default_is_applied_and_recorded(bench: Callable[..., Bench]) -> None:
    words = world.features()["job"].values
    default = words[0]

    def change(known: dict[str, Feature]) -> dict[str, Feature]:
        return {**known, "job": msgspec.structs.replace(known["job"], default=default)}

    found = bench(change=change)
    body = world.row(3)
    del body["job"]
    found.ask(msgspec.json.encode({"features": body}))
    found.ask(world.body(3, change={"job": default}))
    found.ask(world.body(3, change={"job": words[1]}))
    assert [record.defaults for record in found.records()] == [("job",), (), ()]


def test_suspended_endpoint_gives_its_safe_decision_or_none(bench: Callable[..., Bench]) -> None:
    found = bench(policies(safe_decision="refer"))
    stopped = msgspec.structs.replace(found.endpoint, suspended=True)
    found.decider = Decider(stopped, found.desk)
    answer = found.ask(world.body(3))
    assert (answer["decision"], answer["model"], answer["rule"]) == ("refer", None, "suspended")
    without = msgspec.structs.replace(
        stopped, content=msgspec.structs.replace(stopped.content, policies=policies())
    )
    found.decider = Decider(without, found.desk)
    with pytest.raises(ShedError):
        found.ask(world.body(3))
    assert [record.rule for record in found.records()] == ["suspended"]


def test_passed_deadline_is_504_and_recorded(bench: Callable[..., Bench]) -> None:
    found = bench(Policies(timeout_ms=1))
    from router.errors import DeadlineError

    with pytest.raises(DeadlineError):
        found.ask(world.body(3))
    assert [record.status for record in found.records()] == [504]


def test_explanations_are_wanted_for_adverse_decisions(bench: Callable[..., Bench]) -> None:
    found = bench(policies(adverse_decisions=("decline", "refer")))
    decisions = [found.ask(world.body(number))["decision"] for number in range(60)]
    wanted = [record.explain for record in found.records()]
    assert wanted == [int(word in ("decline", "refer")) for word in decisions]
    assert 0 < sum(wanted) < 60


def test_answers_are_noted_for_certificates(bench: Callable[..., Bench]) -> None:
    found = bench()
    for number in range(7):
        found.ask(world.body(number))
    found.desk.note_answers()
    assert found.spool.answered == 7


def test_split_is_sticky_by_subject(bench: Callable[..., Bench]) -> None:
    rules = {
        "text": "IF credit_amount > 0 THEN SPLIT(50: quick_approval, 50: standard_underwriting) "
        "SALT 'a' ELSE quick_approval"
    }
    found = bench(rules=rules)
    models = {n: found.ask(world.body(3, subject=f"s{n}"))["model"] for n in range(40)}
    assert set(models.values()) == {"quick_approval", "standard_underwriting"}
    assert found.ask(world.body(5, subject="s3"))["model"] == models[3]


def test_records_name_what_is_to_be_kept_apart_and_what_is_to_be_sealed(bench: Any) -> None:
    def marked(known: dict[str, Any]) -> dict[str, Any]:
        age = Feature(type="int", nullable=True, protected=True)
        income = Feature(type="float", nullable=True, sensitive=True)
        return {**known, "age": age, "income": income}

    found = bench(change=marked)
    found.ask(world.body())
    with pytest.raises(FeaturesError):
        found.ask(msgspec.json.encode({"features": {"age": 40}}))
    marks = [(record.protected, record.sensitive) for record in found.records()]
    assert marks == [(("age",), ("income",))] * 2


@pytest.mark.parametrize("limit_us", [0, 1])
def test_explanation_beyond_the_policys_cost_comes_later(
    bench: Callable[..., Bench], limit_us: int
) -> None:
    found = bench(policies(explain_inline_us=limit_us)).ask(world.body(3, explain=True))
    assert found["explanation"] == {"state": "pending"}


def test_failing_explanation_leaves_the_decision_and_its_record(
    bench: Callable[..., Bench],
) -> None:
    def fail(f: Any, adverse: bool) -> None:
        raise ArithmeticError(f, adverse)

    asked = bench()
    for arm in asked.endpoint.arms:
        arm.explain = fail  # type: ignore[union-attr]
    found = asked.ask(world.body(3, explain=True))
    assert found["explanation"] == {"state": "pending"}
    assert found["decision"]
    assert [record.status for record in asked.records()] == [200]
