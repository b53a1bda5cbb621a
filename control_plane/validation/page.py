"""The four reports as one page that people read; everything inline, nothing executed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from control_plane.validation import svg

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1c232b;max-width:960px;margin:24px auto;padding:0 16px}
h1{font-size:22px;margin:0}h2{font-size:18px;margin:34px 0 8px;border-bottom:1px solid #d5dae0}
table{border-collapse:collapse;margin:8px 0;font-size:13px}td,th{padding:3px 10px;text-align:left;
border-bottom:1px solid #e6e9ed;vertical-align:top}td.r,th.r{text-align:right}
.c{display:flex;flex-wrap:wrap;gap:16px}.c svg{width:440px;max-width:100%}.t{font-size:13px;font-weight:600}
.n{font-size:10px;fill:#47525e}.l{font-size:11px;fill:#47525e}.a{stroke:#8b95a1;fill:none}
.d{stroke:#b8bec6;stroke-dasharray:4 3}.bad{color:#a8231f;font-weight:600}.ok{color:#1a7a3c}
.watch{color:#9a5b00;font-weight:600}.m{color:#5b6672;font-size:13px}code{font-size:12px}
"""  # noqa: E501 - a style sheet
SHOWN_PROXIES = 10
CLASSES = {
    "flag": "bad", "alert": "bad", "watch": "watch", "ok": "ok", "reference": "m",
    "insufficient data": "m", "too few rows": "m",
}  # fmt: skip


def page(head: dict[str, Any], documents: dict[str, Any]) -> str:
    """The whole page.

    Args:
        head: model, version, digests, rows and gates.
        documents: the four reports by name.
    """
    title = f"Validation of {head['model']} version {head['version']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        (
            f'<p class="m">{escape(head["which"])}, {head["rows"]:,} rows<br>package '
            f"<code>{escape(head['package'])}</code><br>snapshot "
            f"<code>{escape(head['snapshot'])}</code> of {escape(head['dataset'])}</p>"
        ),
        _gates(head["gates"]),
        _predictions(documents["predictions"]),
        _fairness(documents["fairness"]),
        _drift(documents["drift"]),
        _explanations(documents["explanations"]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers to the right, (word, class) pairs coloured."""

    def cell(value: Any) -> str:
        if value is None:
            return '<td class="r m">-</td>'
        if isinstance(value, tuple):
            return f'<td class="{value[1]}">{escape(str(value[0]))}</td>'
        if isinstance(value, float):
            return f'<td class="r">{value:.4g}</td>'
        if isinstance(value, int):
            return f'<td class="r">{value:,}</td>'
        return f"<td>{escape(str(value))}</td>"

    def head(place: int, name: str) -> str:
        right = any(isinstance(row[place], int | float) for row in rows)
        return f'<th class="r">{escape(name)}</th>' if right else f"<th>{escape(name)}</th>"

    top = "".join(head(place, name) for place, name in enumerate(columns))
    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _gates(gates: list[dict[str, Any]]) -> str:
    if not gates:
        return '<p class="m">No gates are configured for this model.</p>'
    rows = [
        (g["gate"], float(g["limit"]), g["value"],
         ("held", "ok") if g["held"] else ("breached", "bad"))
        for g in gates
    ]  # fmt: skip
    return "<h2>Gates</h2>" + _table(("gate", "limit", "value", ""), rows)


def _predictions(report: dict[str, Any]) -> str:
    figures = report["metrics"]
    intervals, baseline = figures.get("intervals", {}), report["baseline"]
    rows = [
        (name, value, *intervals.get(name, (None, None)), baseline["metrics"].get(name))
        for name, value in figures.items()
        if isinstance(value, float)
    ]
    parts = [
        "<h2>Predictions</h2>",
        _table(("figure", "value", "95% from", "to", "baseline"), rows),
        f'<p class="m">Baseline: {escape(baseline["which"])}.</p>',
    ]
    charts = []
    if "roc" in report:
        charts += [
            svg.line("ROC", report["roc"], "false positive rate", "true positive rate",
                     diagonal=True),
            svg.line("Precision and recall", report["precision_recall"], "recall", "precision"),
            svg.line("Calibration", [(b["predicted"], b["observed"])
                                     for b in report["calibration"]],
                     "predicted", "observed", diagonal=True, dots=True),
        ]  # fmt: skip
    for name, title, label in (
        ("histogram", "Scores", "score"), ("residuals", "Residuals", "answer - truth"),
    ):  # fmt: skip
        if name in report:
            found = report[name]
            charts.append(svg.histogram(title, found["edges"], found["counts"], label))
    parts.append(f'<div class="c">{"".join(charts)}</div>')
    if "confusion" in figures:
        table = figures["confusion"]
        columns = ("true \\ answered", *table["classes"])
        body = [(c, *row) for c, row in zip(table["classes"], table["counts"], strict=True)]
        parts.append(_table(columns, body))
    return "".join(parts)


def _fairness(report: dict[str, Any]) -> str:
    parts = ["<h2>Fairness</h2>", f'<p class="m">{escape(report["note"])}']
    if report.get("favourable"):
        parts.append(
            f"; favourable: {escape(report['favourable'])} by {escape(report['rule'])}. "
            "AIR below 0.80 is flagged, below 0.90 watched (screen of 29 CFR 1607.4(D)); SMD, the "
            "distance of mean scores in standard deviations, from 0.5 and 0.2."
        )
    parts.append("</p>")
    single = len(report["attributes"])
    for place, found in enumerate((*report["attributes"], *report.get("intersections", ()))):
        # pairs have many groups of a few people, who would hide the others
        left_out = [g for g in found["groups"] if place >= single and g["status"] == "too few rows"]
        rows = [
            (g["group"], g["rows"], g["rate"], g["air"], *(g["air_interval"] or (None, None)),
             g["parity_difference"], g["smd"], g["true_positive_gap"], g["false_positive_gap"],
             g["p"], (g["status"], CLASSES[g["status"]]))
            for g in found["groups"]
            if g not in left_out
        ]  # fmt: skip
        columns = ("group", "rows", "rate", "AIR", "95% from", "to", "rate diff.", "SMD",
                   "TPR gap", "FPR gap", "p", "")  # fmt: skip
        shown = [
            (g["group"], g["air_interval"][0], g["air"], g["air_interval"][1])
            for g in found["groups"]
            if g["air_interval"]
        ]
        parts += [f"<h3>{escape(found['attribute'])}</h3>", _table(columns, rows)]
        if left_out:
            people = sum(g["rows"] for g in left_out)
            parts.append(
                f'<p class="m">{len(left_out)} smaller groups with {people:,} rows together are '
                "counted and not judged.</p>"
            )
        if shown:
            drawn = svg.interval("Adverse impact ratio, 95% interval", shown, (0.8, 1.0))
            parts.append(f'<div class="c">{drawn}</div>')
    return "".join((*parts, _proxies(report.get("proxies", ()))))


def _proxies(found: Sequence[dict[str, Any]]) -> str:
    """Features that may stand for an attribute, and the nearest of the others."""
    if not found:
        return ""
    rows = [
        (p["feature"], p["attribute"], p["group"], p["auc"], p["information"],
         ("review", "watch") if p["review"] else ("ok", "ok"))
        for place, p in enumerate(found)
        if p["review"] or place < SHOWN_PROXIES
    ]  # fmt: skip
    return (
        "<h3>Features that may stand for an attribute</h3>"
        '<p class="m">How well one feature alone tells a group from all others; above an AUC of '
        f"0.70 somebody should look whether it may be used. {len(rows)} of {len(found)} pairs.</p>"
        + _table(("feature", "attribute", "group", "AUC", "information", ""), rows)
    )


def _drift(report: dict[str, Any]) -> str:
    if not report["features"]:
        return f'<h2>Drift</h2><p class="m">{escape(report["note"])}</p>'
    ranked = sorted(report["features"], key=lambda f: -f["psi"])
    rows = [
        (f["feature"], f["psi"], f["ks"], f["js"], f["kl"], f["p"], f["rows_current"],
         f["needed"], (f["status"], CLASSES[f["status"]]))
        for f in ranked
    ]  # fmt: skip
    columns = ("feature", "PSI", "KS", "JS", "KL", "adjusted p", "rows", "rows needed", "")
    chart = svg.bars("PSI against the training rows", [(f["feature"], f["psi"]) for f in ranked],
                     "0.10 watch, 0.25 alert, when the rows suffice")  # fmt: skip
    return f'<h2>Drift</h2><div class="c">{chart}</div>' + _table(columns, rows)


def _explanations(report: dict[str, Any]) -> str:
    items = [(g["feature"], g["mean_abs"]) for g in report["global"]]
    space = report["space"] + (f" of {report['target']}" if report["target"] else "")
    chart = svg.bars("What moves the model", items, f"mean |contribution| to the {space}")
    parts = [
        "<h2>Explanations</h2>",
        (
            f'<p class="m">{escape(report["method"])} SHAP over {report["rows"]} rows; largest '
            f"residual {report['largest_residual']:.1e}, {report['mismatched']} mismatches</p>"
        ),
        f'<div class="c">{chart}</div>',
    ]
    for local in report["local"]:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in local["reasons"])
        parts.append(f"<p>Row {local['row']}: {local['output']:+.3f}</p><ul>{reasons}</ul>")
    return "".join(parts)
