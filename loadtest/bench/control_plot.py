"""The curve of the control plane's answers over growing evidence, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.plots import ACCENT, INK, QUIET, WARN, new_figure

if TYPE_CHECKING:
    from loadtest.bench.control import LoadFigures, ReadFigures


def plot_control(
    reads: Sequence[ReadFigures], loads: Sequence[LoadFigures], limit_ms: float, path: Path
) -> None:
    """Two panels: p99 of each route by audit rows, and the users' latencies by audit rows.

    Args:
        reads: figures of each route; those about the evidence are drawn in colour.
        loads: figures of the users.
        limit_ms: drawn as a line.
        path: PNG file.
    """
    figure, axes = new_figure(1, 2, 11, 4.4)
    left, right = axes[0]
    for name in dict.fromkeys(each.name for each in reads):
        mine = [each for each in reads if each.name == name]
        audit = name.startswith("audit")
        left.plot(
            [each.audit_rows for each in mine], [each.p99_ms for each in mine],
            color=ACCENT if audit else QUIET, linewidth=1.6 if audit else 0.8,
            marker="o", markersize=3, zorder=3 if audit else 2,
        )  # fmt: skip
    left.axhline(limit_ms, color=WARN, linewidth=1.2, linestyle="--")
    left.set_title("one call at a time, p99 in ms: evidence in colour, all else grey",
                   fontsize=10, color=INK, loc="left")  # fmt: skip
    sizes = [load.audit_rows for load in loads]
    for colour, label, values in (
        (ACCENT, "p50", [load.p50_ms for load in loads]),
        (INK, "p99", [load.p99_ms for load in loads]),
    ):
        right.plot(sizes, values, color=colour, marker="o", markersize=4, label=label)
    right.set_title("50 users at 200 requests/s, ms", fontsize=10, color=INK, loc="left")
    right.legend(fontsize=9, frameon=False)
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_xlabel("audit rows", fontsize=9, color=INK)
    figure.savefig(path)
