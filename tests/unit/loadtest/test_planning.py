import msgspec
import numpy as np
import pytest

from loadtest.capacity import Demand, lower_end, plan_capacity
from loadtest.errors import LoadTestError
from loadtest.knee import Knee
from loadtest.report import hgrm_report
from loadtest.serverside import Reading, difference, parse_metrics


def knee(rate, **fields):
    found = Knee(rate, rate, rate * 1.03, True, True, "", (), ("p99<5ms",))
    return msgspec.structs.replace(found, **fields)


def test_nodes_cover_the_peak_within_the_headroom_and_spares_come_on_top():
    plan = plan_capacity(Demand(rate=10_000, burst=1.5, headroom=0.7, redundancy=1), [knee(5000)])
    assert plan.nodes == 6  # 15,000 / 3,500 = 4.3, so 5 and a spare
    assert plan.survives
    assert plan.per_million == pytest.approx(6 * 0.10 / 36e6 * 1e6)
    assert plan.rows_per_s == 15_000


def test_loss_of_the_spares_must_not_pass_the_knee():
    demand = Demand(rate=990, burst=1.0, headroom=1.0, redundancy=0)
    assert plan_capacity(demand, [knee(100)]).nodes == 10


def test_more_nodes_than_measured_is_labelled_extrapolated():
    assert plan_capacity(Demand(rate=10_000), [knee(5000)]).extrapolated
    assert not plan_capacity(Demand(rate=10, redundancy=0), [knee(5000)]).extrapolated


def test_few_or_local_knees_are_told():
    notes = plan_capacity(Demand(rate=10), [knee(50, local=(0,), confirmed=False)]).notes
    assert len(notes) == 3


@pytest.mark.parametrize(
    ("demand", "knees"),
    [
        (Demand(rate=0), [knee(5)]),
        (Demand(rate=5, burst=0.5), [knee(5)]),
        (Demand(rate=5, headroom=0), [knee(5)]),
        (Demand(rate=5), []),
        (Demand(rate=5), [knee(0)]),
    ],
)
def test_impossible_demands_are_refused(demand, knees):
    with pytest.raises(LoadTestError):
        plan_capacity(demand, knees)


def test_counted_rate_is_the_lower_end_of_repeated_searches():
    assert lower_end([100.0]) == 100.0
    assert lower_end([100.0, 90.0]) == 90.0
    low = lower_end([100.0, 101.0, 99.0, 100.5, 99.5])
    assert 98.0 < low < 99.1


METRICS = """\
# HELP interlock_request_duration_seconds Time.
interlock_request_duration_seconds_sum{endpoint="c",release="1"} %s
interlock_request_duration_seconds_count{endpoint="c",release="1"} %d
interlock_route_decisions_total{endpoint="c",rule="a \\"b\\"",model="m",decision="x"} %d
interlock_infer_duration_seconds_total{endpoint="c",model="m"} %s
interlock_audit_records_total %d
broken line
"""


def test_counters_are_subtracted_and_told_per_request():
    before = Reading(parse_metrics(METRICS % (1.0, 1000, 1000, 0.5, 1000)), {7: 1.0})
    after = Reading(parse_metrics(METRICS % (1.5, 11_000, 11_000, 0.7, 11_000)), {7: 1.4})
    server = difference(before, after)
    assert server.requests == 10_000
    assert server.router_us == pytest.approx(50)
    assert server.infer_us == pytest.approx(20)
    assert server.rest_us == pytest.approx(30)
    assert server.cpu_us == pytest.approx(40)
    assert server.models == {"m": 10_000}
    assert server.audit_records == 10_000
    assert difference(before, before) is None
    assert difference(None, after) is None


def test_percentile_file_is_read_by_hdrhistogram_tools():
    text = hgrm_report(np.arange(1, 1001, dtype=float) * 1000)
    rows = [line.split() for line in text.splitlines()[2:] if not line.startswith("#")]
    values = [float(row[0]) for row in rows]
    assert values == sorted(values)
    assert rows[-1][0] == "1000.000"
    assert "Total count    =         1000" in text
    assert hgrm_report(np.array([])).count("\n") == 2
