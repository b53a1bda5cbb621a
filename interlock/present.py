"""Answers of the control plane on a terminal: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec


def show_rows(
    rows: Iterable[dict[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str
) -> None:
    """A table with these columns, or one JSON line per row.

    Args:
        rows: what was answered.
        columns: keys, in order; ``a.b`` reaches into an object.
        as_json: for programs.
        empty: what to say when there is nothing.
    """
    found = list(rows)
    if as_json:
        for row in found:
            click.echo(msgspec.json.encode(row).decode())
        return
    if not found:
        click.echo(empty)
        return
    cells = [[cell(reach(row, column)) for column in columns] for row in found]
    heads = [column.rpartition(".")[2] for column in columns]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(columns))]
    for line in [heads, *cells]:
        text = "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def show_facts(facts: dict[str, Any], names: Sequence[str] = (), *, as_json: bool) -> None:
    """One thing: a line per fact, or the whole as JSON."""
    if as_json:
        click.echo(msgspec.json.encode(facts).decode())
        return
    shown = names or [name for name, value in facts.items() if not isinstance(value, dict | list)]
    width = max((len(name) for name in shown), default=0)
    for name in shown:
        click.echo(f"{name.ljust(width)}  {cell(reach(facts, name))}")


def reach(row: Any, path: str) -> Any:
    """The value at ``a.b`` of nested objects; None when it is not there."""
    for part in path.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def cell(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value)
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(each)}" for name, each in value.items()) or "-"
    text = str(value)
    if len(text) > 19 and text[4:5] == "-" and text[10:11] == "T":
        return text[:19].replace("T", " ")
    return text


def short(value: float) -> str:
    """A number with four digits that count, or all before the point.

    >>> short(0.8168888888888889), short(72.0), short(3647.3), short(0.00000012)
    ('0.8169', '72', '3647', '1.2e-07')
    """
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
