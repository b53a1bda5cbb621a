"""The report as one HTML file: nothing from outside, light and dark, wide and narrow."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from loadtest.htmlparts import notes, section, table
from loadtest.plantext import html_capacity, html_saving
from loadtest.plots import DRAWINGS, STEPS, draw_knee, svg
from loadtest.show import agent_lines, show_time
from loadtest.show_compare import draw_comparison, height_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.capacity import Capacity
    from loadtest.compare import Comparison
    from loadtest.knee import Knee
    from loadtest.resources import Binding
    from loadtest.routesaving import RouteSaving
    from loadtest.summary import Summary

_STYLE = """
:root{--ink:#1d2733;--paper:#fff;--card:#f8f9fa;--line:#dee2e6;--grid:#e9ecef;--quiet:#5c6773;
--soft:#adb5bd;--accent:#0b7285;--good:#2b8a3e;--bad:#c92a2a;--warn:#b35c00}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--paper:#14181d;--card:#1c2229;
--line:#353d47;
--grid:#2a313a;--quiet:#9aa5b1;--soft:#6b7785;--accent:#3bc9db;--good:#69db7c;--bad:#ff8787;
--warn:#ffc078}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1120px;
margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:2rem 0 .6rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(135px,1fr));gap:.6rem;
margin:1rem 0}
.tile,figure{background:var(--card);border:1px solid var(--line);border-radius:8px}
.tile{padding:.5rem .8rem}.tile b{display:block;font-size:1.25rem}.tile span{color:var(--quiet);
font-size:.85rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:.8rem}
figure{margin:0;padding:.5rem}figure svg{display:block;width:100%;height:auto}
figure text{font-family:system-ui,sans-serif}
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:.2rem 0;
font-variant-numeric:tabular-nums}
td,th{padding:.25rem 1.1rem .25rem 0;text-align:right;white-space:nowrap}
th,td:first-child{white-space:normal}td:first-child,th:first-child{text-align:left}
th{font-weight:600;
border-bottom:1px solid var(--line)}
.pass{color:var(--good)}.fail{color:var(--bad)}.unknown,.note{color:var(--warn)}
.badge{display:inline-block;border-radius:99px;padding:.05rem .7rem;font-weight:600}
.badge.pass{background:var(--good)}.badge.fail{background:var(--bad)}
.badge.unknown{background:var(--warn)}.badge.badge{color:var(--paper)}
.quiet{color:var(--quiet)}code{background:var(--card);border:1px solid var(--line);padding:0 .3em;
border-radius:4px}p{margin:.3rem 0}
.facts{display:grid;grid-template-columns:fit-content(9rem) 1fr;gap:.15rem 1.2rem;margin:.4rem 0}
.facts dt{color:var(--quiet)}.facts dd{margin:0}
.bar{display:flex;height:1.5rem;border-radius:6px;overflow:hidden;margin:.4rem 0}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}.key i{display:inline-block;width:.7rem;
height:.7rem;
border-radius:2px;margin-right:.35rem}
"""
_MODEL_HEAD = ("model", "rows", "share", "mean by the clock", "processor time")
_WORDS = {"equivalent": "pass", "better": "pass", "worse": "fail", "inconclusive": "unknown"}


def page(
    summary: Summary | None = None,
    knee: Knee | None = None,
    comparison: Comparison | None = None,
    capacity: Capacity | None = None,
    saving: RouteSaving | None = None,
) -> str:
    """One page of what there is of a run, a knee, a comparison and plans."""
    of = f" of {', '.join(summary.targets)}" if summary else ""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>Load test{escape(of)}</title><style>{_STYLE}</style>",
        f"<h1>Load test{escape(of)}{' (LOCAL)' if summary and summary.local else ''}</h1>",
        *(_run(summary) if summary else ()),
        *(_knee(knee) if knee else ()),
        *(_comparison(comparison) if comparison else ()),
        html_capacity(capacity) if capacity else "",
        html_saving(saving) if saving else "",
        *(_environment(summary) if summary else ()),
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def kind_of(summary: Summary) -> str:
    """What was sent, in a sentence's part."""
    return (
        f"{summary.loop} loop, {summary.arrival} arrivals, {summary.profile} profile, "
        f"{summary.figures.seconds:.1f} s after {summary.warmup_s:g} s warm-up, seed {summary.seed}"
    )


def latency_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Percentile, corrected, certified bound, uncorrected."""
    return [
        (
            f"p{p.percentile * 100:g}",
            show_time(p.corrected),
            f"≤ {show_time(p.bound)}" if p.bound else f"not certifiable, need {p.needed:,}",
            show_time(p.uncorrected),
        )
        for p in summary.figures.percentiles
    ]


def _run(summary: Summary) -> list[str]:
    f = summary.figures
    state = "pass" if summary.valid else "fail"
    by = {p.percentile: p.corrected for p in f.percentiles}
    cpu = summary.server.cpu_us if summary.server else None
    tiles = [
        (f"{f.good_rate:,.0f}/s", f"good answers of {f.offered_rate:,.0f}/s offered"),
        (show_time(by[0.5]), "p50 from schedule"),
        (show_time(by[0.99]), "p99 from schedule"),
        (f"{f.error_share:.3%}", f"errors of {f.requests:,}"),
    ]
    if cpu is not None:
        tiles.append((f"{cpu:,.0f} us", "server processor time per request"))
    plots = [svg(partial(_draw_with, draw, summary)) for draw in DRAWINGS]
    bad = [(name, f"{n:,}") for name, n in f.outcomes.items()]
    return [
        f"<p class=quiet>{escape(kind_of(summary))}</p>",
        f"<p><span class='badge {state}'>{'VALID' if summary.valid else 'INVALID'}</span></p>",
        *(f"<p class=fail>{escape(r.side)}: {escape(r.text)}</p>" for r in summary.reasons),
        *(
            f"<p class={j.verdict}><code>{escape(j.text)}</code> {j.verdict} {escape(j.why)}</p>"
            for j in summary.thresholds
        ),
        "<div class=tiles>",
        *(f"<div class=tile><b>{value}</b><span>{name}</span></div>" for value, name in tiles),
        "</div>",
        section("Latency", table(("", "corrected", "certified at 99%", "uncorrected"),
                                   latency_rows(summary))),
        *_server(summary),
        *_resources(summary.binding),
        "<h2>Plots</h2><div class=plots>",
        *(f"<figure>{plot}</figure>" for plot in plots if plot),
        "</div>",
        section("Rates and outcomes", table(
            ("offered/s", "sent/s", "completed/s", "good/s", "requests"),
            [(f"{f.offered_rate:,.1f}", f"{f.sent_rate:,.1f}", f"{f.completed_rate:,.1f}",
              f"{f.good_rate:,.1f}", f"{f.requests:,}")],
        ) + table(("outcome", "requests"), bad)),
    ]  # fmt: skip


def _draw_with(draw: Callable[[Any, Summary], bool], summary: Summary, axis: Any) -> bool:
    return draw(axis, summary)


def _server(summary: Summary) -> list[str]:
    server = summary.server
    if server is None:
        return []
    steps = server.steps
    whole = sum(us for _, us in steps) or 1.0
    colours = STEPS if server.queue_us is not None else STEPS[1:]
    coloured = list(zip(steps, colours, strict=False))
    bar = "".join(
        f"<div style='width:{us / whole:.2%};background:{colour}' title='{name}'></div>"
        for (name, us), colour in coloured
    )
    key = "".join(
        f"<span><i style='background:{colour}'></i>{name} {us:,.1f} us ({us / whole:.1%})</span>"
        for (name, us), colour in coloured
    )
    timed = (
        f"Means of {server.timed:,} requests that the router timed step by step"
        if server.timed
        else "Means per request"
    )
    rows = max(sum(server.models.values()), 1)
    models = [
        (name or "refused by a rule", f"{n:,}", f"{n / rows:.1%}",
         f"{server.model_us.get(name, 0.0):.1f} us",
         f"{server.model_cpu_us[name]:.1f} us" if name in server.model_cpu_us else "-")
        for name, n in server.models.items()
    ]  # fmt: skip
    audit = server.audit
    lag = (
        f"<p>Audit: {audit.kept_per_s:,.0f} records/s kept, {audit.shipped_per_s:,.0f}/s reached "
        f"the database; lag up to {max(audit.lag_s):.1f} s ({max(audit.waiting):,.0f} records).</p>"
        if audit and audit.lag_s
        else ""
    )
    behind = (
        f"<p class=note>The evidence fell behind by {audit.behind_per_s:,.0f} records/s.</p>"
        if audit and audit.behind_per_s
        else ""
    )
    about = f"<p class=quiet>{timed}; queue is what clients waited beyond them.</p>"
    return [
        section("Where the time went", f"<div class=bar>{bar}</div><div class=key>{key}</div>"
                 f"{about}{lag}{behind}"),
        section("Models", table(_MODEL_HEAD, models)),
    ]  # fmt: skip


def _resources(binding: Binding | None) -> list[str]:
    if binding is None or not binding.uses:
        return []
    rows = [
        (use.name, f"{use.cores:.2f}", f"{use.busiest:.0%}")
        for use in binding.uses
        if use.cores >= 0.005
    ]
    if binding.machine_cores is not None:
        rows.append(("all of this machine", f"{binding.machine_cores:.2f}", ""))
    listed = table(("service", "cores", "its busiest process"), rows)
    full = "Nothing was full" if binding.resource == "none" else binding.resource
    words = f"<p><b>{escape(full)}</b>: {escape(binding.words)}</p>"
    return [section("Which resource was full", words + listed)]


def _knee(knee: Knee) -> list[str]:
    word = "confirmed" if knee.confirmed else "not confirmed"
    curve = svg(lambda axis: draw_knee(axis, knee), 9, 4.4)
    rows = [
        (
            f"{p.rate:,.0f}/s", p.phase, show_time(p.p50_us), show_time(p.p99_us),
            show_time(p.p99_bound_us), "-" if p.cpu_us is None else f"{p.cpu_us:.0f} us",
            "-" if p.lag_s is None else f"{p.lag_s:.1f} s",
            "holds" if p.holds else "fails" if p.sound else "unsound",
        )
        for p in sorted(knee.probes, key=lambda p: p.rate)
    ]  # fmt: skip
    head = ("rate", "phase", "p50", "p99", "certified", "server CPU", "audit lag", "")
    bound = (
        f"<p>Binding resource: <b>{escape(knee.binding.resource)}</b>, "
        f"{escape(knee.binding.words)}</p>"
        if knee.binding
        else ""
    )
    return [
        section(
            "Knee",
            f"<p><b>{knee.rate:,.0f} requests/s</b> ({word}; between {knee.low:,.0f} and "
            f"{knee.high:,.0f}) for {escape(', '.join(knee.thresholds))}</p>{bound}"
            + (f"<p class=note>{escape(knee.note)}</p>" if knee.note else "")
            + (f"<figure>{curve}</figure>" if curve else "")
            + table(head, rows),
        )
    ]


def _comparison(found: Comparison) -> list[str]:
    rows = [
        (f.name, f"{f.a:,.1f}", f"{f.b:,.1f}", f"{f.ratio:.3f}", f"{f.low:.3f} to {f.high:.3f}",
         f.verdict)
        for f in found.figures
    ]  # fmt: skip
    badge = f"<span class='badge {_WORDS[found.verdict]}'>{found.verdict}</span>"
    about = (
        f"{found.runs_a} against {found.runs_b} {found.kind}s"
        f"{', in pairs' if found.paired else ''}; equal within {found.margin:.0%}"
    )
    head = ("figure", "a", "b", "b / a", "interval", "verdict")
    plot = svg(lambda axis: draw_comparison(axis, found), 9, height_in(found))
    return [
        section(
            "Comparison",
            f"<p>{badge} {about}</p><figure>{plot}</figure>{table(head, rows)}{notes(found.notes)}",
        )
    ]


def _environment(summary: Summary) -> list[str]:
    e = summary.environment
    libraries = ", ".join(f"{name} {version}" for name, version in e.libraries.items())
    local = (
        f"<p class=note>LOCAL: generator and server share core "
        f"{', '.join(map(str, summary.local))}; latencies are too high and rates too low.</p>"
        if summary.local
        else ""
    )
    return [
        section(
            "Made on",
            f"{local}<p class=quiet>{escape(e.cpu)}, {e.cores} cores, {e.memory_mb:,} MiB, kernel "
            f"{escape(e.kernel)}, governor {escape(e.governor)}, Python {e.python}; "
            f"{escape(libraries)}; plan {e.plan}</p>"
            + "".join(f"<p class=quiet>{escape(line)}</p>" for line in agent_lines(summary)),
        )
    ]
