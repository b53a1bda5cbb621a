"""The page with little, much and hostile content."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from loadtest.compare import Comparison, compare_values
from loadtest.environment import Environment
from loadtest.html import page
from loadtest.knee import Knee, Probe
from loadtest.plots import svg
from loadtest.processes import AgentClock
from loadtest.report import markdown_report
from loadtest.resources import Audit, Binding, Use
from loadtest.serverside import STAGES, ServerSide
from loadtest.statistics import PERCENTILES, Figures, Percentile, Window
from loadtest.summary import Summary, decode, encode
from loadtest.thresholds import Judgement
from loadtest.verdict import Reason

HOSTILE = "</style><script>alert('x')</script>&"
SERVER = ServerSide(
    requests=1000, router_us=60.0, infer_us=40.0, rest_us=20.0, models={"a": 900, HOSTILE: 100},
    model_us={"a": 38.0}, rules={}, audit_records=1000, cpu_us=70.0, busy=0.5,
    stages=dict.fromkeys(STAGES, 10.0), timed=8, queue_us=30.0,
    audit=Audit((0.0, 1.0, 2.0), (0.1, 1.0, 2.5), (0.0, 90.0, 500.0), 500.0, 250.0),
)  # fmt: skip
FULL = Binding("router", HOSTILE, (Use("router", 0.9, 0.9), Use("generator", 0.2, 0.2)), 1.4)


def summary(value, **fields):
    percentiles = tuple(Percentile(p, value, value, value, 700) for p in PERCENTILES)
    figures = Figures(
        100, 100, 1.0, 100.0, 100.0, 100.0, 100.0, 1.0, 0.0, 1.0, value, value, percentiles,
        {"good": 100}, {"200": 100}, 1.0, 2.0, 3.0,
    )  # fmt: skip
    slices = tuple(Window(k * 1.0, 100.0, 100.0, 99.0, value, value, 1) for k in range(3))
    made = Summary(
        figures, slices if value else (), Environment("cpu", 2, 1, "k", "none", "3.11", {}, "p"),
        "open", "constant", "poisson", 1, 0.0, ("h:1",), {}, (), True, (), (), 0.1, 1, False, 0,
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


WHOLE = summary(
    1234.5,
    targets=(HOSTILE,),
    server=SERVER,
    binding=FULL,
    valid=False,
    local=(0, 1),
    reasons=(Reason("lag", "generator", HOSTILE),),
    thresholds=(Judgement("p99<5ms", "pass", 1.0, 2.0, HOSTILE),),
    agents=(AgentClock("10.0.0.7:8089", 50, 12.0, 3.0),),
)


class Balance(HTMLParser):
    """Open tags; a page that closes what it opens ends with none but those HTML closes itself."""

    VOID = frozenset({"meta", "br", "img", "link"})
    OWN = frozenset({"html", "meta", "title"})

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.scripts += tag == "script"
        self.scripts += sum(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    found = Balance()
    found.feed(text)
    found.close()
    return found


def test_hostile_words_stay_words_everywhere():
    text = page(WHOLE)
    assert parsed(text).scripts == 0
    assert "alert('x')" not in re.sub(r"&lt;/style&gt;.*?&amp;", "", text, flags=re.DOTALL)


def test_page_of_everything_is_balanced_and_draws_every_plot():
    found = parsed(page(WHOLE))
    assert found.open == []
    assert found.seen.count("svg") == 6


def test_run_without_any_answer_has_a_page():
    text = page(summary(None))
    found = parsed(text)
    assert found.open == []
    assert "not certifiable, need 700" in text
    assert "Where the time went" not in text


def test_steps_are_shown_with_their_share_of_the_whole():
    text = page(WHOLE)
    assert "queue 30.0 us (33.3%)" in text
    assert "audit 10.0 us (11.1%)" in text
    assert "The evidence fell behind by 250 records/s" in text


@pytest.mark.parametrize("verdict", ["better", "worse", "equivalent", "inconclusive"])
def test_comparison_and_knee_have_pages(verdict):
    figure = compare_values(HOSTILE, [100.0] * 5, [110.0] * 5)
    comparison = Comparison((figure,), verdict, 5, 5, 0.03, (HOSTILE,))
    probe = Probe(100, "confirm", True, "", True, 5.0, 99.0, 1.0, 2.0, 3.0, None, FULL, 0.1)
    knee = Knee(100, 100, 103, True, True, HOSTILE, (probe,), ("p99<5ms",), binding=FULL)
    found = parsed(page(knee=knee, comparison=comparison))
    assert (found.scripts, found.open) == (0, [])
    assert verdict in page(comparison=comparison)


def test_knee_of_probes_without_latency_is_told_without_a_curve():
    probe = Probe(100, "bracket", False, "refused", True, 5.0, 0.0, None, None, None, None)
    knee = Knee(0.0, 0.0, 100, False, True, "", (probe,), ("p99<5ms",))
    assert parsed(page(knee=knee)).seen.count("svg") == 0


def test_drawing_takes_its_colours_and_its_size_from_the_page():
    def draw(axis):
        axis.plot([0, 1], [1, 2], color="#0b7285")
        axis.set_title("title")
        return True

    text = svg(draw)
    head = text[: text.index(">")]
    assert "viewBox" in head
    assert not re.search(r' (width|height)="', head)
    assert "var(--accent)" in text
    assert "#0b7285" not in text
    for element in re.findall(r"<text [^>]*>", text):
        assert "fill: var(--ink)" in element
    assert svg(lambda _: False) == ""


def test_everything_survives_the_file_and_reaches_the_markdown():
    assert decode(encode(WHOLE)) == WHOLE
    text = markdown_report(WHOLE)
    for part in ("queue 30.0", "lag up to 2.5 s", "fullest", "10.0.0.7:8089 sent 50 requests"):
        assert part in text
