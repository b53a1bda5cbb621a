import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from interlock.commands.bench import BENCHES, bench
from interlock.commands.loadtest import loadtest
from loadtest.bench.credit import ENDPOINT, build_node
from loadtest.bench.measure import Requests, check_server, combine, half_load, saturate
from loadtest.bench.node import router
from loadtest.errors import LoadTestError, TargetError
from loadtest.preflight import exchange
from loadtest.requests import build_request

DATA = Path(__file__).parents[3] / "interlock" / "data" / "german_credit.csv"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    return build_node(DATA, tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def server(node):
    with router(node, min(os.sched_getaffinity(0))) as server:
        yield server


def requests_of(node, key=None):
    return Requests(
        f"/v1/predict/{ENDPOINT}",
        node.bodies[:40],
        (("Authorization", f"Bearer {key or node.key}"),),
    )


def test_router_answers_from_the_folder_alone_with_everything_on(node, server):
    request = requests_of(node)
    data = build_request(server.target, request.path, request.bodies[0], headers=request.headers)
    answer = msgspec.json.decode(exchange(server.target, data).body)
    assert answer["decision"] in {"approve", "refer", "decline"}
    assert answer["durability"] == "process"
    assert list((node.folder / "spool").rglob("*.seg"))


def test_server_that_would_refuse_is_not_measured(node, server):
    with pytest.raises(TargetError, match="key is refused"):
        check_server(server, requests_of(node, key="ilk_wrong"))


def test_sample_counts_requests_and_the_processor_time_of_the_whole_tree(node, server):
    request = requests_of(node)
    check_server(server, request)
    cpu = max(os.sched_getaffinity(0))
    sample = saturate(server, request, client="own", seconds=0.5, cpu=cpu, connections=4)
    assert sample.errors == 0
    assert sample.requests > 50
    assert 1 < sample.cpu_us < 5000
    both = half_load(server, request, sample, seconds=0.5, cpu=cpu, connections=4)
    assert both.half_rate == sample.requests_per_s / 2
    assert 0 < both.p50_us <= both.p99_us
    result = combine([both, both, sample], server.rss_anon_mb())
    assert (result.runs, result.cpu_us, result.p50_us) == (3, sample.cpu_us, both.p50_us)
    assert result.rss_anon_mb > 1


def test_run_draws_rows_from_the_release_judges_its_objectives_and_shows_every_route(
    node, server, tmp_path
):
    result = CliRunner().invoke(
        loadtest,
        ["run", "--url", f"http://{server.target.authority}", "--key", node.key, "--endpoint",
         ENDPOINT, "--home", str(node.folder / "home"), "--rate", "300", "--duration", "1s",
         "--warmup", "0s", "--check", "decision=approve|refer|decline", "--variants", "200",
         "--out", str(tmp_path)],
    )  # fmt: skip
    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    assert set(summary["figures"]["outcomes"]) == {"good"}, result.output
    assert {t["text"] for t in summary["thresholds"]} == {"p99<5ms", "goodput>=0.999"}
    assert set(summary["server"]["models"]) == {
        "quick_approval", "standard_underwriting", "risk_ensemble",
    }  # fmt: skip
    assert summary["server"]["audit_records"] >= summary["figures"]["requests"]
    report = CliRunner().invoke(loadtest, ["report", str(tmp_path), "--markdown"])
    assert "| p99 |" in report.output
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 2
    names = (f"http://{server.target.authority}", "http://www.w3.org/")  # those of SVG
    for name in names:
        page = page.replace(name, "")
    assert "http" not in page.replace("httptools", "")
    saved = CliRunner().invoke(
        loadtest, ["plan", "--rate", "9000", "--by-route", "--run", str(tmp_path)]
    )
    assert "all on risk_ensemble" in saved.output


def test_other_data_is_refused(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(LoadTestError, match="German credit"):
        build_node(file, tmp_path / "node")


@pytest.mark.parametrize("name", list(BENCHES))
def test_every_benchmark_is_there_or_says_that_it_is_not(name):
    result = CliRunner().invoke(bench, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_benchmark_that_this_installation_lacks_says_so(monkeypatch):
    monkeypatch.setitem(BENCHES, "absent", "Nothing.")
    result = CliRunner().invoke(bench, ["absent", "--runs", "3"])
    assert result.exit_code == 2
    assert "no benchmark 'absent'" in result.output


@pytest.mark.slow
def test_first_and_second_start_of_the_whole_stack_are_timed(tmp_path):
    found = CliRunner().invoke(bench, ["start", "--json", "--plot", str(tmp_path / "start.png")])
    assert found.exit_code == 0, found.output
    first, second = msgspec.json.decode(found.stdout)
    assert first["value"] > second["value"] > 0
    assert (tmp_path / "start.png").exists()


def test_generator_is_measured_against_a_server_that_does_nothing(tmp_path):
    found = CliRunner().invoke(
        bench, ["generator", "--seconds", "0.5", "--json", "--plot", str(tmp_path / "x.png")]
    )
    assert found.exit_code == 0, found.output
    values = {line["what"]: line["value"] for line in msgspec.json.decode(found.stdout)}
    assert values["ceiling, closed loop, 1 KB bodies"] > 100
    assert (tmp_path / "x.png").exists()
