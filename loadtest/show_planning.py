"""Capacity and savings in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtest import plantext
from loadtest.show import wide_console

if TYPE_CHECKING:
    from loadtest.capacity import Capacity
    from loadtest.routesaving import RouteSaving


def show_capacity(c: Capacity) -> None:
    """Nodes, price and what they stand on."""
    table = _table(("", ""), left={""})
    for row in plantext.capacity_rows(c):
        table.add_row(*row)
    title = Text(plantext.capacity_title(c), style="bold")
    wide_console().print(
        Panel(Group(title, table, _notes(c.notes)), title="interlock loadtest plan")
    )


def show_saving(saving: RouteSaving) -> None:
    """The table a finance officer asks for."""
    routes = _table(plantext.ROUTE_HEAD, left={"model", "measured in"})
    for row in plantext.route_rows(saving):
        routes.add_row(*row)
    totals = _table(plantext.saving_head(saving), left=set())
    totals.columns[0].justify = "left"
    for row in plantext.saving_rows(saving):
        totals.add_row(*row)
    basis = Text(
        "\n".join(f"{name:8} {text}" for name, text in plantext.saving_basis(saving)), style="dim"
    )
    notes = _notes(plantext.saving_notes(saving))
    wide_console().print(
        Panel(
            Group(routes, Text(), totals, Text(), basis, notes),
            title="interlock loadtest plan --by-route",
        )
    )


def _table(heads: tuple[str, ...], left: set[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=any(heads))
    for name in heads:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def _notes(texts: list[str] | tuple[str, ...]) -> Text:
    return Text("\n".join(texts), style="yellow")
