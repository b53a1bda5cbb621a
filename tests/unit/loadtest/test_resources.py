import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.capacity import Demand, plan_capacity
from loadtest.knee import Knee, Probe, binding_of, find_knee
from loadtest.monitor import audit_of
from loadtest.resources import FULL_MACHINE, FULL_PROCESS, Audit, Binding, Use, bind
from loadtest.serverside import Reading, difference, parse_metrics

ROUTER, POSTGRES = Use("router", 0.4, 0.4), Use("postgres", 0.3, 0.2)
CALM = Audit((0.0, 5.0), (0.1, 0.1), (10.0, 20.0), 1000.0, 998.0)
BEHIND = Audit((0.0, 10.0), (0.1, 6.0), (0.0, 6000.0), 1000.0, 400.0)


def test_full_process_is_named_with_its_share():
    found = bind([Use("router", 1.7, 0.97), POSTGRES], 1.9, 4, CALM, late=False)
    assert (found.resource, found.words) == (
        "router",
        "CPU of router: 97% of a core in its busiest process",
    )


def test_full_generator_is_named_before_it_is_called_late():
    uses = [ROUTER, Use("generator", 0.95, 0.95)]
    assert bind(uses, 1.4, 4, None, late=True).words.startswith("CPU of generator: 95%")


def test_full_machine_is_blamed_on_whoever_used_most():
    uses = [Use("router", 0.8, 0.8), POSTGRES]
    found = bind(uses, 1.99, 2, CALM, late=True)
    assert found.resource == "machine"  # 0.89 cores of others
    assert "1.99 of 2 busy (router 0.80, postgres 0.30, others 0.89)" in found.words
    assert bind(uses, 1.85, 2, CALM, late=True).resource == "router"


@pytest.mark.parametrize(
    ("shipper", "postgres", "blamed"),
    [(0.5, 0.3, "shipper"), (0.4, 0.7, "postgres"), (0.0, 0.1, "shipper"), (0.1, 0.5, "postgres")],
)
def test_evidence_that_falls_behind_is_blamed_on_the_busier_writer(shipper, postgres, blamed):
    uses = [ROUTER, Use("postgres", postgres, postgres), Use("shipper", shipper, shipper)]
    found = bind(uses, 1.3, 4, BEHIND, late=False)
    assert found.resource == blamed
    assert "1,000 records/s were kept and 400 reached the database" in found.words
    assert ("neither was busy" in found.words) == (max(shipper, postgres) < 0.3)


def test_evidence_that_falls_behind_unseen_is_blamed_on_the_shipper():
    assert bind([ROUTER], 1.3, 4, BEHIND, late=False).resource == "shipper"


def test_late_generator_is_named_when_nothing_else_was_full():
    assert bind([ROUTER], 0.5, 4, CALM, late=True).resource == "generator"


def test_nothing_full_and_nothing_seen_are_told_apart():
    assert bind([ROUTER], 0.5, 4, CALM, late=False).words == (
        "nothing was full; the busiest was router with 40% of a core"
    )
    assert bind([Use("generator", 0.1, 0.1)], None, 4, None, late=False).resource == "unknown"


shares = st.floats(0, 1)


@given(
    st.dictionaries(st.sampled_from(["router", "postgres", "shipper", "generator"]), shares),
    st.floats(0, 4) | st.none(),
    st.sampled_from([None, CALM, BEHIND]),
    st.booleans(),
)
def test_named_resource_was_full_by_the_figures_it_is_told_with(busy, machine, audit, late):
    uses = [Use(name, share, share) for name, share in busy.items()]
    found = bind(uses, machine, 4, audit, late=late)
    assert found.uses == tuple(uses)
    full_process = found.resource in busy and busy[found.resource] >= FULL_PROCESS
    full_machine = machine is not None and machine >= 4 * FULL_MACHINE
    behind = audit is BEHIND and found.resource in {"shipper", "postgres"}
    asleep = found.resource in {"none", "unknown"} or (late and found.resource == "generator")
    assert full_process or full_machine or behind or asleep
    if any(share >= FULL_PROCESS for share in busy.values()):
        assert full_process


def test_batches_that_wait_a_moment_are_not_behind():
    assert CALM.behind_per_s == 0
    assert BEHIND.behind_per_s == 600
    assert msgspec.structs.replace(BEHIND, lag_s=(0.1, 1.9)).behind_per_s == 0
    assert msgspec.structs.replace(BEHIND, waiting=(0.0, 100.0)).behind_per_s == 0


LOOK = """\
interlock_audit_exposed_records{worker="0"} %d
interlock_audit_exposed_records{worker="1"} 5
interlock_audit_exposure_seconds{worker="0"} %s
interlock_audit_exposure_seconds{worker="1"} 0.05
interlock_audit_records_total %d
interlock_shipper_records_total %d
"""


def test_evidence_is_followed_from_look_to_look():
    seen = ((0, (0, 0.0, 1000, 900)), (1, (7, 0.2, 2000, 1500)), (2, (9, 0.1, 3000, 2900)))
    looks = [(100.0 + at, parse_metrics(LOOK % values)) for at, values in seen]
    assert audit_of(looks) == Audit(
        (0.0, 1.0, 2.0), (0.05, 0.2, 0.1), (5.0, 12.0, 14.0), 1000.0, 1000.0
    )
    assert audit_of(looks[:1]) is None
    assert audit_of([(at, {}) for at, _ in looks]) is None


STEPS = """\
interlock_request_duration_seconds_sum{endpoint="c"} %s
interlock_request_duration_seconds_count{endpoint="c"} %d
interlock_stage_samples_total{endpoint="c"} %d
interlock_stage_duration_seconds_total{endpoint="c",stage="decode"} %s
interlock_stage_duration_seconds_total{endpoint="c",stage="audit"} %s
"""


def test_steps_are_means_of_the_timed_requests_in_the_order_of_a_request():
    before, after = (Reading(parse_metrics(STEPS % values), {}) for values in
                     ((0, 0, 10, 0.1, 0.1), (1, 100, 20, 0.1001, 0.10005)))  # fmt: skip
    server = difference(before, after)
    assert server.timed == 10
    names = [name for name, _ in server.steps]
    assert names == ["decode", "route", "infer", "decide", "encode", "audit"]
    assert dict(server.steps)["decode"] == pytest.approx(10)
    assert dict(server.steps)["audit"] == pytest.approx(5)


def test_router_that_times_nothing_still_tells_models_and_rest():
    after = Reading(parse_metrics(STEPS % (1, 100, 0, 0, 0)), {})
    assert [name for name, _ in difference(Reading({}, {}), after).steps] == ["infer", "rest"]


def test_wait_for_a_batch_is_told_apart_from_the_rest():
    text = STEPS % (1, 100, 0, 0, 0) + 'interlock_batch_wait_seconds_total{endpoint="c"} 0.4\n'
    server = difference(Reading({}, {}), Reading(parse_metrics(text), {}))
    assert dict(server.steps) == pytest.approx({"batch wait": 4000, "infer": 0, "rest": 6000})


def probe(rate, *, holds, sound=True, resource="none", behind=0.0):
    return Probe(
        rate, "bracket", holds, "" if holds else "p99<5ms: too slow", sound, 5.0, rate, 1.0, 2.0,
        3.0, 2.5, Binding(resource, "words"), 0.1, behind,
    )  # fmt: skip


def test_binding_of_a_knee_is_that_of_the_lowest_rate_that_failed_soundly():
    probes = [
        probe(100, holds=True),
        probe(400, holds=False, resource="router"),
        probe(200, holds=False, sound=False, resource="generator"),
        probe(300, holds=False, resource="postgres"),
    ]
    assert binding_of(probes).resource == "postgres"
    assert binding_of(probes[:1]).words == "nothing gave out"


def test_binding_without_a_full_resource_says_what_broke():
    assert binding_of([probe(1, holds=False)]).words == "words; p99<5ms: too slow"


def test_knee_tells_up_to_where_the_evidence_kept_up():
    found = find_knee(lambda rate, _: probe(rate, holds=rate < 1000, behind=0.0 if rate < 500
                      else 90.0), 100)  # fmt: skip
    assert 900 < found.rate < 1000
    assert found.kept_up == 400


def test_capacity_says_what_gave_out_on_a_node():
    knee = Knee(
        100, 100, 103, True, True, "", (), ("p99<5ms",),
        binding=Binding("generator", "generator: late"), kept_up=10.0,
    )  # fmt: skip
    found = plan_capacity(Demand(rate=10), [knee])
    assert found.binding == ("generator: late",)
    assert any("the generator gave out" in note for note in found.notes)
    assert any("only up to 10/s" in note for note in found.notes)
