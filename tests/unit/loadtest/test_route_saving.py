from datetime import UTC, datetime

import msgspec
import pytest

from loadtest.capacity import Demand
from loadtest.errors import LoadTestError
from loadtest.mix import (
    RouteMix,
    count_rows,
    mix_of_records,
    mix_of_run,
    package_costs,
    parse_time,
)
from loadtest.routesaving import Costs, costs_of, plan_by_route
from loadtest.serverside import ServerSide

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def costs(**models):
    return Costs(models, dict.fromkeys(models, "run"), 10.0, "the rest")


def counters(**fields):
    server = ServerSide(
        requests=100, router_us=60.0, infer_us=40.0, rest_us=20.0, models={"small": 50, "": 5},
        model_us={"small": 40.0}, rules={}, audit_records=100, cpu_us=100.0, busy=0.9,
    )  # fmt: skip
    return msgspec.structs.replace(server, **fields)


def row(model, n, version=1, **fields):
    return {"endpoint": "credit", "release": 1, "model": model, "version": version, "n": n,
            "first": NOW, "last": NOW} | fields  # fmt: skip


def test_routing_is_compared_with_everything_on_the_heaviest_model():
    saving = plan_by_route(
        Demand(rate=100_000, burst=1.0, headroom=0.5, redundancy=0, node_price=0.36),
        RouteMix("run", {"small": 75, "large": 25}),
        costs(small=10.0, large=90.0),
    )
    assert saving.heaviest == "large"
    assert (saving.before.cpu_us, saving.after.cpu_us) == (100.0, 40.0)
    assert saving.saved_share == pytest.approx(0.6)
    assert (saving.before.cores, saving.after.cores) == (20, 8)
    assert saving.after.per_million == pytest.approx(8 * 0.36 / 360)
    assert saving.before.monthly == pytest.approx(20 * 0.36 * 730)
    assert [route.model for route in saving.routes] == ["large", "small"]


def test_requests_that_a_rule_refuses_save_nothing_but_cost_the_rest():
    mix = RouteMix("run", {"large": 1}, rejected=1)
    saving = plan_by_route(Demand(rate=1), mix, costs(large=90.0))
    assert saving.before.cpu_us == saving.after.cpu_us == 55.0
    assert saving.saved_share == 0


def test_model_without_a_measured_cost_is_named():
    with pytest.raises(LoadTestError, match="large"):
        plan_by_route(Demand(rate=1), RouteMix("run", {"large": 1}), costs(small=1.0))


def test_empty_mix_is_refused():
    with pytest.raises(LoadTestError, match="empty"):
        plan_by_route(Demand(rate=1), RouteMix("run", {}, rejected=3), costs(small=1.0))


def test_cost_of_a_model_that_the_run_missed_is_its_packages():
    server = counters(model_cpu_us={"small": 30.0}, model_samples={"small": 10})
    found = costs_of(server, "run", {"small": 3.0, "large": 7.0}, {"small", "large"})
    assert found.models == {"small": 30.0, "large": 7.0}
    assert found.sources == {"small": "run", "large": "package"}
    assert found.rest_us == 85.0  # 100 us, and half of the requests were scored in 30
    assert found.notes == ()


def test_clock_times_longer_than_processor_time_are_scaled_down_and_told():
    found = costs_of(counters(cpu_us=30.0), "run", {}, {"small"})
    assert found.models["small"] == pytest.approx(20.0)
    assert found.rest_us == pytest.approx(20.0)
    assert "clock time times 0.50 stands for the processor time of small" in found.notes[0]


def test_processor_time_of_too_few_samples_is_not_taken():
    server = counters(model_cpu_us={"small": 1.0}, model_samples={"small": 9})
    found = costs_of(server, "run", {}, {"small"})
    assert found.models == {"small": 40.0}
    assert "fewer than 10 of its requests were timed" in found.notes[0]


def test_costs_of_an_idle_router_are_told():
    assert "10% busy" in costs_of(counters(busy=0.1), "run", {}, {"small"}).notes[-1]


def test_without_counters_only_the_models_are_counted_and_that_is_told():
    found = costs_of(None, "router", {"small": 3.0}, {"small", "large"})
    assert (found.models, found.rest_us) == ({"small": 3.0}, 0.0)
    assert "not HTTP" in found.notes[0]


def test_rows_of_the_evidence_become_a_mix_over_versions_and_releases():
    mix = count_rows(
        [row("a", 3), row("a", 4, 2, release=2), row("b", 1), row(None, 2, None, release=2)]
    )
    assert mix.models == {"a": 7, "b": 1}
    assert mix.versions == {"a": (1, 2), "b": (1,)}
    assert (mix.rejected, mix.total, mix.releases) == (2, 10, (1, 2))
    assert "10 requests of credit in the audit, releases 1, 2" in mix.words


def test_evidence_of_several_endpoints_asks_which():
    with pytest.raises(LoadTestError, match="cards, credit"):
        count_rows([row("a", 1), row("b", 1, endpoint="cards")])


def test_no_evidence_is_an_error_not_an_empty_mix():
    with pytest.raises(LoadTestError, match="no such requests"):
        count_rows([])


def test_package_cost_is_the_least_that_any_worker_measured():
    loaded = [
        msgspec.json.encode([{"models": [{"name": "a", "cost_us": cost}, {"name": "b"}]}])
        for cost in (7.5, 3.5)
    ]
    assert package_costs(loaded) == {"a": 3.5}


def test_mix_of_an_export_counts_models_and_rejections(tmp_path):
    path = tmp_path / "records.ndjson"
    path.write_text('{"model":"a","status":200}\n{"model":"a"}\n{"model":null,"status":200}\n')
    mix = mix_of_records(path)
    assert (mix.models, mix.rejected) == ({"a": 2}, 1)


def test_mix_of_a_run_keeps_its_rejections_apart_and_says_why_it_stands_in():
    mix = mix_of_run(counters(), "no stack")
    assert (mix.models, mix.rejected, mix.fallback) == ({"small": 50}, 5, "no stack")


@pytest.mark.parametrize(
    ("text", "hours"), [("12h", 12), ("1.5d", 36), ("90m", 1.5), ("2w", 336), ("2026-03-01", 12)]
)
def test_times_are_read_as_ago_or_absolute(text, hours):
    assert (NOW - parse_time(text, NOW)).total_seconds() == hours * 3600


def test_time_that_is_neither_is_refused():
    with pytest.raises(LoadTestError, match="expected a time"):
        parse_time("yesterday", NOW)
