"""Counters as text for Prometheus: histograms cumulated, units in seconds, twins of known names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from router.metrics.catalogue import CATALOGUE, MICRO, NANO, Metric
from router.metrics.slots import series, sum_files

_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
Labels = dict[str, str]


def split(name: str) -> tuple[str, Labels]:
    """Base name and labels of a series.

    >>> split('a_total{x="1",y="b"}')
    ('a_total', {'x': '1', 'y': 'b'})
    """
    base, _, rest = name.partition("{")
    return base, {key: _ESCAPED.sub(_plain_of, text) for key, text in _LABEL.findall(rest)}


def _plain_of(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def render(folder: Path, node: Mapping[str, int] | None = None) -> bytes:
    """The whole text, all workers summed.

    Args:
        folder: counter files of the workers.
        node: values that the node has once, in the units of counters.
    """
    found: dict[str, list[tuple[Labels, int]]] = defaultdict(list)
    for name, value in {**sum_files(folder), **(node or {})}.items():
        base, labels = split(name)
        found[base].append((labels, value))
    lines: list[str] = []
    for metric in CATALOGUE:
        if metric.kind == "histogram":
            _histogram(metric, found, lines)
        elif metric.source is None:
            _plain(metric, found.get(metric.name, []), lines)
        else:
            _plain(metric, metric.source(found), lines)
    return ("\n".join(lines) + "\n").encode()


def _head(metric: Metric, lines: list[str]) -> None:
    lines.append(f"# HELP {metric.name} {metric.help}")
    lines.append(f"# TYPE {metric.name} {metric.kind}")


def _plain(metric: Metric, samples: list[tuple[Labels, int]], lines: list[str]) -> None:
    if not samples:
        return
    _head(metric, lines)
    for labels, value in samples:
        lines.append(f"{series(metric.name, **labels)} {_scaled(value, metric.unit)}")


def _histogram(
    metric: Metric, found: dict[str, list[tuple[Labels, int]]], lines: list[str]
) -> None:
    """Buckets hold their own counts in memory and everything below in the text."""
    buckets: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
    counts: dict[str, int] = {}
    rows = []
    for labels, value in found.get(metric.name + "_bucket", []):
        rest = tuple((key, text) for key, text in labels.items() if key != "le")
        buckets[rest] += value
        rows.append(series(metric.name + "_bucket", **labels) + f" {buckets[rest]}")
        counts[series(metric.name + "_count", **dict(rest))] = buckets[rest]
    if not rows:
        return
    _head(metric, lines)
    lines += rows
    for labels, value in found.get(metric.name + "_sum", []):
        lines.append(f"{series(metric.name + '_sum', **labels)} {_scaled(value, metric.unit)}")
    lines += [f"{name} {count}" for name, count in counts.items()]


def _scaled(value: int, unit: int) -> str:
    """An integer count of microseconds or nanoseconds in seconds, exactly."""
    if unit in (MICRO, NANO):
        return repr(value / unit)
    return str(value)
