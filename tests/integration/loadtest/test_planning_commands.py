"""Runs against a real router and the evidence of a real database, as the commands see them."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner

from interlock.commands.loadtest import loadtest
from loadtest.results import read_summary
from loadtest.stack import find_release
from tests import router_world as world
from tests.conftest import in_thread
from tests.router_process import RouterProcess

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def call(*args, **env):
    return CliRunner(env={"INTERLOCK_KEY": world.ROUTING_KEY, **env}).invoke(
        loadtest, [str(arg) for arg in args]
    )


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    home = tmp_path_factory.mktemp("router")
    world.publish(home)
    process = RouterProcess(world.settings_for(home, workers=1), home / "log").wait_ready()
    yield process, home
    assert process.stop() == 0


@pytest.fixture(scope="module")
def stored(router, tmp_path_factory):
    """Folder of a run against the router, reported."""
    process, home = router
    folder = tmp_path_factory.mktemp("run")
    result = call(
        "run", "--url", f"http://127.0.0.1:{process.port}", "--home", home, "--endpoint", "credit",
        "--rate", 800, "--duration", "2s", "--warmup", "500ms", "--out", folder, "--quiet",
    )  # fmt: skip
    assert result.exit_code in {0, 3, 99}, result.output
    assert call("report", folder).exit_code == 0
    return folder


def test_home_of_the_router_gives_schema_and_rules(router):
    assert find_release(router[1], "credit") is not None


def test_run_tells_every_step_of_a_request_and_who_used_the_cores(stored):
    summary = read_summary(stored)
    server = summary.server
    assert server.requests > 1500
    assert server.timed > 0
    assert [name for name, _ in server.steps] == [
        "queue", "decode", "route", "infer", "decide", "encode", "audit",
    ]  # fmt: skip
    assert all(us > 0 for _, us in server.steps)
    assert set(server.models) >= {"quick_approval", "standard_underwriting"}
    assert {use.name for use in summary.binding.uses} == {"router", "generator"}
    assert server.cpu_us > 0


class Page(HTMLParser):
    """Tags that are open, and everything that would be fetched."""

    VOID = frozenset({"meta", "img", "br", "path", "use", "rect"})

    def __init__(self):
        super().__init__()
        self.fetched, self.titles = [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in {"src", "href", "xlink:href"} and not value.startswith("#"):
                self.fetched.append((tag, value))
        self.titles.append(tag)


def test_page_holds_every_section_and_fetches_nothing(stored):
    text = (stored / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.fetched == []
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    for title in ("Latency", "Where the time went", "Models", "Which resource was full", "Plots"):
        assert f"<h2>{title}</h2>" in text
    assert page.titles.count("svg") == 5  # no shipper runs here, so there is no lag to draw
    for name in ("report.md", "latency.hgrm", "latency.hlog", "run.png", "summary.json"):
        assert (stored / name).stat().st_size > 0
    assert "fullest" in (stored / "report.md").read_text()


def test_saving_is_computed_from_the_run_when_there_is_no_evidence(stored, tmp_path):
    result = call("plan", "--rate", 1000, "--by-route", "--run", stored, "--home", tmp_path,
                  "--json", DATABASE_URL="")  # fmt: skip
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)
    assert found["mix"]["source"] == "run"
    assert "no stack in the home" in found["mix"]["fallback"]
    assert 0 <= found["saved_share"] < 1
    assert found["before"]["cpu_us"] > found["after"]["cpu_us"] > 0


async def fill(url, rows):
    connection = await asyncpg.connect(url)
    try:
        for number, row in enumerate(rows):
            whole = {
                "id": uuid4(), "received_at": NOW, "decided_at": NOW, "endpoint": "credit",
                "release": 7, "rule": "r", "unknown": [], "model": "quick_approval", "version": 1,
                "key_id": "k1", "status": 200, "durability": "process",
                "retention_class": "default", "features": b"{}", "defaults": [], "latency_us": 1,
                "explain": 0, "rows": 1, "schema_version": 1, "writer": "n/b/0", "seq": number,
                "batch": 1, "leaf": number,
            } | row  # fmt: skip
            places = ", ".join(f"${n + 1}" for n in range(len(whole)))
            await connection.execute(
                f"INSERT INTO audit_records ({', '.join(whole)}) VALUES ({places})",
                *whole.values(),
            )
    finally:
        await connection.close()


@pytest.fixture
def evidence(database_url):
    heavy = {"model": "standard_underwriting"}
    rows = [
        *[{}] * 7,
        *[heavy] * 2,
        {"model": None, "version": None},
        {"status": 422, "model": None, "version": None},
        {"part": "job/1", "rows": 100_000},
        *[heavy | {"received_at": NOW - timedelta(days=2), "release": 6, "key_id": "k2"}] * 5,
    ]
    in_thread(lambda: fill(database_url, rows))
    return database_url


def by_route(stored, url, *flags):
    result = call("plan", "--rate", 1000, "--by-route", "--run", stored, "--json", *flags,
                  DATABASE_URL=url)  # fmt: skip
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)["mix"]


def test_mix_is_counted_in_the_evidence_of_online_requests(stored, evidence):
    mix = by_route(stored, evidence, "--since", "2026-03-01", "--until", "2026-03-02")
    assert mix["models"] == {"quick_approval": 7, "standard_underwriting": 2}
    assert (mix["rejected"], mix["releases"], mix["endpoint"]) == (1, [7], "credit")
    assert (mix["source"], mix["fallback"]) == ("audit", "")


@pytest.mark.parametrize(
    "flags", [("--release", "6"), ("--key-id", "k2"), ("--until", "2026-02-28")]
)
def test_mix_follows_release_key_and_time(stored, evidence, flags):
    mix = by_route(stored, evidence, "--since", "2026-01-01", *flags)
    assert mix["models"] == {"standard_underwriting": 5}
    assert mix["first"] == mix["last"] == "2026-02-27T12:00Z"


def test_empty_evidence_gives_way_to_the_run_and_says_so(stored, evidence):
    mix = by_route(stored, evidence, "--since", "2020-01-01", "--until", "2020-02-01")
    assert mix["source"] == "run"
    assert mix["fallback"] == "the evidence holds no such requests"


def test_costs_come_from_the_routers_counters_without_a_run(router, evidence):
    process, home = router
    result = call(
        "plan", "--rate", 1000, "--by-route", "--url", f"http://127.0.0.1:{process.port}",
        "--home", home, "--since", "2026-01-01", "--json", DATABASE_URL=evidence,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)
    assert set(found["costs"]["sources"].values()) == {"router"}
    assert found["costs"]["rest"].endswith("HTTP and kernel not")


def test_table_says_before_after_and_saved(stored, evidence):
    result = call("plan", "--rate", 1000, "--by-route", "--run", stored, "--since", "2026-01-01",
                  DATABASE_URL=evidence)  # fmt: skip
    assert result.exit_code == 0, result.output
    for part in ("before: all on", "after: routed", "saved", "CPU seconds per million", "price a",
                 "releases 6, 7", "none (refused by a rule)"):  # fmt: skip
        assert part in result.output


def test_nothing_to_plan_from_is_refused_with_the_ways_out(tmp_path):
    result = call("plan", "--rate", 1, "--by-route", "--home", tmp_path, DATABASE_URL="")
    assert result.exit_code == 2
    assert "--records FILE or --run DIR" in result.output


def test_folder_without_results_is_refused(tmp_path):
    result = call("report", tmp_path)
    assert result.exit_code == 2
    assert "expected one of summary.json, knee.json" in result.output


@pytest.fixture(scope="module")
def knees(router, tmp_path_factory):
    process, home = router
    folder = tmp_path_factory.mktemp("knees")
    result = call(
        "knee", "--url", f"http://127.0.0.1:{process.port}", "--home", home, "--endpoint", "credit",
        "--threshold", "p50<5s", "--start", 100, "--most", 200, "--probe", "300ms", "--warmup",
        "0s", "--searches", 2, "--out", folder,
    )  # fmt: skip
    assert result.exit_code == 5, result.output  # nothing fails, so nothing can be confirmed
    assert result.output.count("nothing gave out") == 2
    return folder


def test_repeated_searches_are_planned_with_and_compared(knees):
    planned = call("plan", "--rate", 1000, "--knee", knees, "--json")
    assert planned.exit_code == 0, planned.output
    capacity = msgspec.json.decode(planned.stdout)
    assert capacity["per_node"] == 200
    assert capacity["nodes"] == 12  # 1,500 / 140, and a spare
    assert capacity["extrapolated"]
    compared = call("compare", knees, knees, "--json")
    assert compared.exit_code == 5  # two searches a side decide nothing
    assert msgspec.json.decode(compared.stdout)["kind"] == "knee"


def test_probes_tell_the_servers_processor_time_and_who_was_busiest(knees):
    knee = msgspec.json.decode((knees / "001" / "knee.json").read_bytes())
    for probe in knee["probes"]:
        assert probe["cpu_us"] >= 0
        assert {use["name"] for use in probe["binding"]["uses"]} == {"router", "generator"}
    assert call("report", knees / "001").exit_code == 0
    page = (knees / "001" / "report.html").read_text()
    assert "<h2>Knee</h2>" in page
    assert page.count("<svg") == 1


def test_plans_are_kept_and_reported_together(knees, stored, evidence, tmp_path):
    for flags in (("--knee", knees), ("--by-route", "--run", stored, "--since", "2026-01-01")):
        done = call("plan", "--rate", 1000, *flags, "--out", tmp_path, DATABASE_URL=evidence)
        assert done.exit_code == 0, done.output
    assert call("report", tmp_path).exit_code == 0
    page = (tmp_path / "report.html").read_text()
    for part in ("<h2>Plan</h2>", "12 nodes for 1,000 requests/s", "<h2>What routing saves</h2>",
                 "before: all on", "releases 6, 7"):  # fmt: skip
        assert part in page
    saving = (tmp_path / "saving.md").read_text()
    assert "| CPU seconds per million requests |" in saving
    assert "12 nodes" in (tmp_path / "plan.md").read_text()
    assert (tmp_path / "saving.png").read_bytes().startswith(b"\x89PNG")


def test_knee_is_searched_with_agents_that_are_asked_again_for_every_probe(router):
    process, home = router
    token = "a token that is long enough"
    command = [sys.executable, "-m", "interlock", "loadtest", "agent", "--listen", "127.0.0.1:0"]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "INTERLOCK_AGENT_TOKEN": token},
    )  # fmt: skip
    try:
        address = re.search(r"on (\S+)", child.stdout.readline())[1]
        result = call(
            "knee", "--url", f"http://127.0.0.1:{process.port}", "--home", home, "--endpoint",
            "credit", "--threshold", "p50<5s", "--start", 100, "--most", 200, "--probe", "300ms",
            "--warmup", "0s", "--agent", address, "--json", INTERLOCK_AGENT_TOKEN=token,
        )  # fmt: skip
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert result.exit_code == 5, result.output
    found = msgspec.json.decode(result.stdout)
    assert [probe["rate"] for probe in found["probes"]] == [100, 200]
    assert all(probe["good_rate"] > 50 for probe in found["probes"])


def test_database_that_does_not_run_is_told_and_the_run_stands_in(stored, tmp_path):
    url = f"postgresql:///x?host={tmp_path}&user=x"
    refused = call("plan", "--rate", 1, "--by-route", DATABASE_URL=url)
    assert refused.exit_code == 2
    assert "database: it is not running" in refused.output
    mix = by_route(stored, url)
    assert (mix["source"], "not running" in mix["fallback"]) == ("run", True)
