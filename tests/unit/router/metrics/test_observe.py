"""The dashboard and the alert rules fit the metrics that exist."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from interlock.cli import cli
from router.metrics import alerts, grafana
from router.metrics.catalogue import CATALOGUE
from tests import router_world as world

SHIPPED = Path(grafana.__file__).parent / "shipped"
NAMES = {metric.name for metric in CATALOGUE} | {
    metric.name + end
    for metric in CATALOGUE
    if metric.kind == "histogram"
    for end in ("_bucket", "_sum", "_count")
}
KINDS = {metric.name: metric.kind for metric in CATALOGUE}


def expressions() -> list[str]:
    board = json.loads(grafana.dashboard())
    found = [t["expr"] for panel in board["panels"] for t in panel.get("targets", [])]
    rules = alerts.alert_rules({"credit": {"p99_ms": 5, "availability": 0.9995}, "": {}})
    return found + [json.loads(line) for line in re.findall(r"expr: (.*)", rules)]


def test_every_name_in_an_expression_is_a_metric() -> None:
    used = {name for each in expressions() for name in re.findall(r"interlock_[a-z_]+", each)}
    assert used <= NAMES
    assert len(used) > 20


@pytest.mark.parametrize("expression", expressions())
def test_expression_is_balanced_and_takes_rates_of_counters_only(expression: str) -> None:
    for opened, closed in ("()", "{}", "[]"):
        assert expression.count(opened) == expression.count(closed)
    for name in re.findall(r"(?:rate|increase)\((interlock_[a-z_]+)", expression):
        assert KINDS.get(name, "histogram") in {"counter", "histogram"}


def test_shipped_files_are_what_the_generators_make() -> None:
    assert (SHIPPED / "grafana.json").read_text("utf-8") == grafana.dashboard()
    assert (SHIPPED / "alerts.yml").read_text("utf-8") == alerts.alert_rules({})


def test_objectives_of_an_endpoint_become_its_limits() -> None:
    rules = {a.name: a for a in alerts.endpoint_alerts("credit", {"p99_ms": 5, "p50_ms": 1})}
    assert rules["InterlockLatencyP99"].expr.endswith("> 0.005")
    assert "histogram_quantile(0.99," in rules["InterlockLatencyP99"].expr
    assert "histogram_quantile(0.5," in rules["InterlockLatencyP50"].expr
    page = rules["InterlockErrorBudgetPage1H"].expr
    assert page.count("> 0.0144") == 2
    assert 'endpoint="credit"' in page


def test_command_reads_the_objectives_of_a_node(tmp_path: Path) -> None:
    world.publish(tmp_path, [world.credit(tmp_path / "artifacts", slo={"p99_ms": 7})])
    done = CliRunner().invoke(cli, ["metrics", "alerts", "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "interlock-credit" in done.output
    assert "> 0.007" in done.output
    empty = CliRunner().invoke(cli, ["metrics", "alerts", "--home", str(tmp_path / "none")])
    assert empty.exit_code == 1
    assert "no router has served" in empty.output


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(grafana.dashboard())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
