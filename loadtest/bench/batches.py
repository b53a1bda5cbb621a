"""What a row costs in a binary request of a thousand, beside ONNX Runtime alone.

The bare loop runs the same models on the same lowered rows, the rows of each request shared among
them as the rules share them, so that both have the same number of runs of the same size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtest.bench.measure import Requests, check_server, saturate, v2_requests
from loadtest.bench.streams import bare_loop

if TYPE_CHECKING:
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server

ROWS = 1000
CONNECTIONS = 2
LIMIT = 1.3


class Batches(Struct, frozen=True):
    """Processor time of a row, microseconds, of each run.

    Attributes:
        binary_us: of a request with binary tensors.
        json_us: of one with tensors in JSON.
        bare_us: of ONNX Runtime alone, in the same runs.
        errors: answers that were none.
        rows: of a request.
    """

    binary_us: tuple[float, ...]
    json_us: tuple[float, ...]
    bare_us: tuple[float, ...]
    errors: int
    rows: int = ROWS

    @property
    def ratio(self) -> float:
        """Of the binary request to ONNX Runtime alone, the median of the runs."""
        pairs = zip(self.binary_us, self.bare_us, strict=True)
        return median(ours / bare for ours, bare in pairs)


def batches(
    server: Server, node: Node, *, runs: int, seconds: float, cpu: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Batches:  # fmt: skip
    """Saturate the server with requests of many rows, in turns with the bare loop.

    Args:
        server: running; its release keeps parts.
        node: whose rows.
        runs: of each, interleaved.
        seconds: of each.
        cpu: core of the generator.
        tell: told each step.
    """
    bearer = (("Authorization", f"Bearer {node.key}"),)
    kinds = [v2_requests(node, bearer, binary=binary, rows=ROWS) for binary in (True, False)]
    bare = bare_loop(node, 20 * ROWS, together=ROWS)
    for requests in kinds:
        check_server(server, requests)
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    errors = 0

    def run(requests: Requests) -> float:
        nonlocal errors
        sample = saturate(
            server, requests, client="own", seconds=seconds, cpu=cpu, connections=CONNECTIONS
        )
        errors += sample.errors
        return sample.cpu_us / ROWS

    for number in range(runs):
        found[0].append(run(kinds[0]))
        found[1].append(run(kinds[1]))
        begun = time.process_time()
        bare()
        found[2].append((time.process_time() - begun) / (20 * ROWS) * 1e6)
        tell(
            f"run {number + 1}/{runs} {ROWS:,} rows: {found[0][-1]:.2f} us CPU a row binary, "
            f"{found[1][-1]:.2f} JSON, {found[2][-1]:.2f} ONNX Runtime alone"
        )
    return Batches(tuple(found[0]), tuple(found[1]), tuple(found[2]), errors)


def show_batches(found: Batches) -> None:
    """The figures as lines."""
    from loadtest.show import wide_console

    console = wide_console()
    console.print(
        f"V2 with {found.rows:,} rows: {median(found.binary_us):.2f} us CPU a row binary, "
        f"{median(found.json_us):.2f} JSON; ONNX Runtime alone {median(found.bare_us):.2f}; "
        f"binary {found.ratio:.2f} times that (limit {LIMIT:g}), {found.errors} errors"
    )
