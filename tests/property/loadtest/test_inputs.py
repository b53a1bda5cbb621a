"""Whatever people type or files hold: understood, or refused with a LoadTestError."""

import contextlib
import math
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest.agents import parse_agent
from loadtest.capacity import Demand
from loadtest.certify import binomial_cdf, certify, most_over, samples_needed
from loadtest.checks import build_check
from loadtest.errors import LoadTestError
from loadtest.mix import RouteMix, count_rows, mix_of_records, parse_time
from loadtest.payloads import read_payload, read_records
from loadtest.plan import Template, parse_target
from loadtest.routesaving import Costs, plan_by_route
from loadtest.schedule import read_trace
from loadtest.serverside import parse_metrics
from loadtest.thresholds import parse_threshold

near_thresholds = st.from_regex(r"(p\(?[0-9.]{0,5}\)?|err|rps|avg)[<>]=?[0-9.e-]{0,6}(ms|s|us|%)?")


@given(st.text() | near_thresholds)
def test_threshold_is_read_or_refused(text):
    with contextlib.suppress(LoadTestError):
        threshold = parse_threshold(text)
        assert threshold.limit >= 0
        assert 0 <= threshold.percentile < 1


@given(st.text() | st.from_regex(r"https?://[a-z0-9:\[\]./-]{0,20}"))
def test_address_is_read_or_refused(text):
    with contextlib.suppress(LoadTestError):
        target = parse_target(text)
        assert 0 < target.port < 65_536
        assert target.host


@given(st.text())
def test_agent_address_is_read_or_refused(text):
    with contextlib.suppress(LoadTestError):
        parse_agent(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b'{"a":1}', b"{", b"\n", b"1,2", b'{"features":']))
)
def test_files_are_read_or_refused(tmp_path, data):
    content = data if isinstance(data, bytes) else b"\n".join(data)
    for reader in (
        read_payload_as("x.ndjson"), read_payload_as("x.csv"), read_records, read_trace,
        mix_of_records,
    ):  # fmt: skip
        file = tmp_path / getattr(reader, "name", "file")
        file.write_bytes(content)
        with contextlib.suppress(LoadTestError):
            reader(file)


def read_payload_as(name):
    def read(path: Path):
        return read_payload(path, None)

    read.name = name
    return read


@given(st.text() | st.from_regex(r"[a-z_]+\{[a-z=\",\\]*\} [0-9.e+-]+\n"))
def test_any_metrics_page_is_read(text):
    assert isinstance(parse_metrics(text), dict)


@given(st.text(min_size=1), st.binary())
def test_any_check_decides_any_body(text, body):
    check = build_check(Template(b"", "", (text,)))
    assert check(body) in {True, False}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "id"]), inner, max_size=3),
)


@given(json_values)
def test_check_by_path_finds_what_the_document_holds(value):
    body = msgspec.json.encode({"deep": {"er": value}})
    said = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if "|" not in said and "\n" not in said:
        assert build_check(Template(b"", "", (f"deep.er={said}",)))(body)


@given(st.integers(2, 5000), st.sampled_from([0.5, 0.9, 0.97, 0.99]))
def test_certified_bound_is_as_tight_as_the_binomial_allows(n, percentile):
    over = most_over(n, percentile)
    if n < samples_needed(percentile):
        assert over == 0
        return
    assert binomial_cdf(over, n, 1 - percentile) <= 0.01
    assert binomial_cdf(over + 1, n, 1 - percentile) > 0.01
    ordered = np.arange(n, dtype=float)
    assert certify(ordered, percentile).value >= np.ceil(percentile * n) - 1


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.text() | st.from_regex(r"[0-9.]{1,12}[mhdws]") | st.from_regex(r"[0-9T:+-]{4,25}"))
def test_time_of_a_mix_is_read_or_refused(text):
    with contextlib.suppress(LoadTestError):
        assert parse_time(text, NOW).tzinfo is not None


grouped = st.fixed_dictionaries(
    {
        "endpoint": st.just("credit"),
        "release": st.integers(1, 3),
        "model": st.sampled_from(["a", "b", None]),
        "version": st.integers(1, 2) | st.none(),
        "n": st.integers(1, 1000),
        "first": st.just(NOW),
        "last": st.just(NOW),
    }
)


@given(st.lists(grouped, min_size=1))
def test_mix_counts_every_request_of_the_evidence_once(rows):
    mix = count_rows(rows)
    assert mix.total == sum(row["n"] for row in rows)
    for name, n in mix.models.items():
        assert n == sum(row["n"] for row in rows if row["model"] == name)
    assert mix.releases == tuple(sorted({row["release"] for row in rows}))


costs = st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 1e6), min_size=1)


@given(costs, st.data())
def test_routing_never_costs_more_than_everything_on_the_heaviest_model(models, data):
    rows = {name: data.draw(st.integers(1, 1000)) for name in models}
    rest, rejected = data.draw(st.floats(0.1, 1e3)), data.draw(st.integers(0, 100))
    found = plan_by_route(
        Demand(rate=100),
        RouteMix("run", rows, rejected=rejected),
        Costs(models, dict.fromkeys(models, "run"), rest, "rest"),
    )
    # the slow obvious version: every request one by one
    after = sum(n * (models[name] + rest) for name, n in rows.items()) + rejected * rest
    before = sum(rows.values()) * (max(models.values()) + rest) + rejected * rest
    total = sum(rows.values()) + rejected
    assert math.isclose(found.after.cpu_us, after / total, rel_tol=1e-9)
    assert math.isclose(found.before.cpu_us, before / total, rel_tol=1e-9)
    assert -1e-9 <= found.saved_share < 1
    assert found.after.cores <= found.before.cores
