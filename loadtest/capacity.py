"""Capacity: how many nodes, and what they cost.

Everything starts from measured knees, never from a queueing formula. Beyond the number of nodes
that was measured the figures assume that nodes do not slow each other down, and say so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.knee import Knee

RECORD_BYTES = 900
SPOOL_BYTES = 16 << 30


class Demand(Struct, frozen=True):
    """What is asked for.

    Attributes:
        rate: requests per second on average over the busy hour.
        burst: peak over average.
        headroom: share of a node's knee that may be used.
        redundancy: nodes that may be lost.
        node_price: price of a node-hour.
        currency: that it is in; a word for the tables.
        record_bytes: audit record in the spool.
        spool_bytes: spool of one node.
    """

    rate: float
    burst: float = 1.5
    headroom: float = 0.7
    redundancy: int = 1
    node_price: float = 0.10
    record_bytes: int = RECORD_BYTES
    spool_bytes: int = SPOOL_BYTES
    currency: str = ""


class Capacity(Struct, frozen=True):
    """The answer.

    Attributes:
        per_node: rate that a node is counted with: the lower end of what was measured.
        nodes: in all, spares included.
        survives: nodes left after losing the spares still stay below the knee at the peak.
        used_share: of a node's knee at the average, all nodes up.
        per_million: price of a million predictions.
        spool_hours: how long one node can be cut off from Postgres at the peak.
        rows_per_s: audit rows per second that Postgres must take at the peak.
        extrapolated: more nodes than were measured.
        binding: what gave out on a node, in words of the searches.
        rows_measured: rows per second that were seen to reach the database; None when not told.
        notes: what a reader should know.
    """

    demand: Demand
    per_node: float
    nodes: int
    survives: bool
    used_share: float
    per_million: float
    monthly: float
    spool_hours: float
    rows_per_s: float
    extrapolated: bool
    thresholds: tuple[str, ...]
    notes: tuple[str, ...]
    binding: tuple[str, ...] = ()
    rows_measured: float | None = None
    format: Literal["interlock/capacity/v1"] = "interlock/capacity/v1"


def plan_capacity(demand: Demand, knees: Sequence[Knee], measured_nodes: int = 1) -> Capacity:
    """Nodes for a demand.

    Args:
        demand: what is asked for.
        knees: repeated searches of the same set-up.
        measured_nodes: nodes behind each knee.

    Raises:
        LoadTestError: no knee, a knee of 0, or a demand that cannot be met by any number.
    """
    if not knees or min(knee.rate for knee in knees) <= 0:
        raise LoadTestError(
            "expected a knee above 0", at="knee.json", hint="run interlock loadtest knee first"
        )
    if not (demand.rate > 0 and demand.burst >= 1 and 0 < demand.headroom <= 1):
        raise LoadTestError(
            "expected a rate above 0, a burst of at least 1 and a headroom up to 1", at="--rate"
        )
    per_node = lower_end([knee.rate for knee in knees]) / measured_nodes
    peak = demand.rate * demand.burst
    nodes = math.ceil(peak / (per_node * demand.headroom)) + demand.redundancy
    while nodes - demand.redundancy < 1 or peak / (nodes - demand.redundancy) > per_node:
        nodes += 1
    notes = []
    bound = sorted({knee.binding.resource for knee in knees if knee.binding})
    if "generator" in bound:
        notes.append("the generator gave out, not the server: nodes can do more")
    kept_up = [knee.kept_up for knee in knees if knee.kept_up is not None]
    if kept_up and min(kept_up) < per_node * demand.headroom:
        notes.append(
            f"the evidence of one node reached the database only up to {min(kept_up):,.0f}/s"
        )
    if kept_up and min(kept_up) < peak:
        notes.append(
            f"the database took {min(kept_up):,.0f} rows/s where it was measured; "
            f"{peak:,.0f}/s is extrapolated: interlock bench audit tells what it can take"
        )
    if any(knee.local for knee in knees):
        notes.append("the knee is LOCAL: generator and server shared cores, nodes can do more")
    if not all(knee.confirmed for knee in knees):
        notes.append("a knee was not confirmed by a long run")
    if len(knees) < 3:
        notes.append(f"{len(knees)} search(es): repeat at least 3 times for an interval")
    monthly = nodes * demand.node_price * 730
    return Capacity(
        demand=demand,
        per_node=per_node,
        nodes=nodes,
        survives=peak / max(nodes - demand.redundancy, 1) <= per_node,
        used_share=demand.rate / nodes / per_node,
        per_million=nodes * demand.node_price / (demand.rate * 3600) * 1e6,
        monthly=monthly,
        spool_hours=demand.spool_bytes / (peak / nodes * demand.record_bytes) / 3600,
        rows_per_s=peak,
        extrapolated=nodes > measured_nodes,
        thresholds=knees[0].thresholds,
        notes=tuple(notes),
        rows_measured=min(kept_up) if kept_up else None,
        binding=tuple(sorted({knee.binding.words for knee in knees if knee.binding})),
    )


_T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def lower_end(values: Sequence[float]) -> float:
    """Lower end of the 95% interval of the mean (Student), never above the lowest value seen.

    With fewer than three values it is the lowest one.
    """
    lowest, n = min(values), len(values)
    if n < 3:
        return lowest
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    low = mean - _T95.get(n, 2.0) * deviation / math.sqrt(n)
    return max(min(low, lowest), 0.5 * lowest)
