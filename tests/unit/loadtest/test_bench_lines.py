from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from interlock.commands.bench import BENCHES, _with_plot, bench
from loadtest.bench.audit import Append, AuditReport, Strict
from loadtest.bench.audit_lines import audit_lines
from loadtest.bench.lines import keep, limit_of, panels, plot_lines
from loadtest.bench.models import Line


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_has_machine_output_and_a_picture(name):
    found = CliRunner().invoke(bench, [name, "--help"])
    assert found.exit_code == 0, found.output
    for flag in ("--json", "--plot FILE"):
        assert flag in found.output


@pytest.mark.parametrize(
    ("text", "limit"),
    [("<= 9 us", 9.0), (">= 100,000", 100_000.0), ("at most 1.05", 1.05), ("", None), ("no", None)],
)
def test_limit_is_the_number_in_its_words(text, limit):
    assert limit_of(Line("s", "w", 1.0, "us", text)) == limit


lines = st.builds(
    Line,
    st.sampled_from(["one", "two"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$"), max_size=9),
    st.floats(0, 1e9),
    st.sampled_from(["us", "rows/s"]),
    st.sampled_from(["", "<= 9"]),
)


@given(st.lists(lines, max_size=12))
def test_panels_hold_every_line_once_with_its_own_section_and_unit(given_lines):
    found = panels(given_lines)
    flat = [line for panel in found for line in panel]
    assert sorted(flat, key=repr) == sorted(given_lines, key=repr)
    keys = [(panel[0].section, panel[0].unit) for panel in found]
    assert len(keys) == len(set(keys))
    for panel, key in zip(found, keys, strict=True):
        assert all((line.section, line.unit) == key for line in panel)


@pytest.mark.parametrize("values", [(0.0,), (1.0, 2.0), (1e-3, 1e6), (-3.0, 5.0), (0.0, 0.0)])
def test_any_values_can_be_drawn(tmp_path, values):
    made = [Line("s", f"w{n}", value, "us", "<= 2") for n, value in enumerate(values)]
    plot_lines("x", made, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_benchmark_that_misses_a_limit_is_drawn_and_keeps_its_status(tmp_path):
    @click.command("thing")
    @click.pass_context
    def thing(ctx):
        keep(ctx, [Line("s", "w", 1.0, "us")])
        ctx.exit(4)

    drawn = _with_plot(thing)
    assert _with_plot(drawn) is drawn
    assert sum(parameter.name == "plot" for parameter in drawn.params) == 1
    found = CliRunner().invoke(drawn, ["--plot", str(tmp_path / "a.png")], obj={})
    assert found.exit_code == 4
    assert (tmp_path / "a.png").exists()


def test_report_without_a_database_has_the_lines_that_were_measured():
    report = AuditReport(Append(1, 2, 3, 0.1, 5), Strict(6, 7, 8), None, None)
    assert [line.value for line in audit_lines(report)] == [1, 2, 3, 5, 7, 8]


def test_figures_of_a_call_without_a_group_are_not_kept():
    keep(SimpleNamespace(obj=None), [Line("s", "w", 1.0, "us")])
