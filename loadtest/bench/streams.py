"""``interlock bench streams``: rows a second through one router worker, beside bare ONNX Runtime.

The lending endpoint with columnar evidence, over HTTP on one core. The bare loop runs the same
models on the same lowered rows, in the same shares, with everything else left out.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from loadtest.bench.lines import keep
from loadtest.bench.models import Line, show
from loadtest.errors import TargetError

if TYPE_CHECKING:
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server

PIECE = 1 << 16
BATCH_ROWS = 8192
RUN_ROWS = 1000
TYPES = {
    "NDJSON": "application/x-ndjson",
    "CSV": "text/csv",
    "Arrow": "application/vnd.apache.arrow.stream",
}
LIMITS = {"NDJSON": ">= 100,000"}
ARROW_FLOOR = ">= 0.8"
ISOLATION_LIMIT = "<= 1.1"


@click.command()
@click.option("--rows", type=click.IntRange(10_000), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--only", type=click.Choice(["cost", "isolation"]), multiple=True,
              help="Leave out the rest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
@click.pass_context
def streams(
    ctx: click.Context, *, rows: int, rounds: int, only: tuple[str, ...], as_json: bool
) -> None:
    """Streams through one router worker on one core.

    Rows per second of its processor time, and what a stream does to online requests beside it.
    """
    from loadtest.bench.credit import build_node
    from loadtest.bench.node import router
    from loadtest.processes import share_cores
    from router.release.spec import Policies

    def tell(text: str) -> None:
        if not as_json:
            click.echo(f"{text} ...", err=True)

    data = Path(ctx.obj["credit_data"])
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interlock-bench-")))
        node = build_node(data, folder, policies=Policies(stream_evidence="parts"), progress=tell)
        cores = share_cores()
        server = stack.enter_context(router(node, cores[0]))
        lines: list[Line] = []
        if "cost" in only or not only:
            lines += _cost(server, node, rows, rounds, tell)
        if "isolation" in only or not only:
            lines += _isolation(server, node, rounds, cores[-1], tell)
    keep(ctx, lines)
    if as_json:
        click.echo(msgspec.json.encode(lines).decode())
    else:
        show(lines)


def _cost(
    server: Server, node: Node, rows: int, rounds: int, tell: Callable[[str], None]
) -> Iterator[Line]:
    """Processor time of a row in each form, beside the bare loop."""
    tell(f"writing {rows:,} rows")
    bodies = bodies_of(node, rows)
    bare = bare_loop(node, rows)
    cpu_us: dict[str, list[float]] = {name: [] for name in (*bodies, "bare")}
    for number in range(rounds + 1):
        tell(f"round {number} of {rounds}" if number else "warming")
        for name, body in bodies.items():
            spent = send(server, node, body, TYPES[name]) / rows * 1e6
            if number:
                cpu_us[name].append(spent)
        start = time.process_time()
        bare()
        if number:
            cpu_us["bare"].append((time.process_time() - start) / rows * 1e6)
    return _lines(cpu_us)


def _isolation(
    server: Server, node: Node, rounds: int, cpu: int, tell: Callable[[str], None]
) -> Iterator[Line]:
    """Latency of online requests while a stream runs beside them, as a ratio to without."""
    from loadtest.bench.credit import ENDPOINT
    from loadtest.bench.isolation import SHARE, capacity, isolation
    from loadtest.bench.measure import Requests, check_server
    from loadtest.bench.streaming import streaming

    bearer = (("Authorization", f"Bearer {node.key}"),)
    online = Requests(f"/v1/predict/{ENDPOINT}", node.bodies, bearer)
    check_server(server, online)
    tell("measuring the capacity for online requests")
    most = capacity(server, online, cpu=cpu)
    yield Line("isolation", "online capacity", most, "requests/s")
    for name, body in endless(node).items():
        tell(f"online requests at {SHARE:.0%} of it, in turns with and without {name}")
        rows: list[float] = []
        disturb = partial(streaming, server, node, TYPES[name], body, cpu=cpu, counts=rows)
        found = isolation(server, online, disturb, rate=SHARE * most, cpu=cpu, rounds=rounds)
        what = f"{name} stream"
        yield Line("isolation", f"{what}, beside the load", statistics.median(rows), "rows/s")
        yield Line("isolation", f"{what}: online p50 without", found.p50_us[0], "us")
        yield Line("isolation", f"{what}: online p50 with", found.p50_us[1], "us")
        waits = found.waited_us
        yield Line("isolation", f"{what}: no core for the worker without", waits[0], "us/request")
        yield Line("isolation", f"{what}: no core for the worker with", waits[1], "us/request")
        yield Line("isolation", f"{what}: online p99 without", found.p99_us[0], "us")
        yield Line("isolation", f"{what}: online p99 with", found.p99_us[1], "us")
        yield Line("isolation", f"{what}: p99 without, largest to smallest", found.spread, "x")
        yield Line("isolation", f"{what}: online p99 ratio", found.ratio, "x", ISOLATION_LIMIT)
        yield Line("isolation", f"{what}: failed online requests", sum(found.errors), "", "0")


def endless(node: Node) -> dict[str, tuple[bytes, bytes, int]]:
    """What begins a stream of each form, what goes on in it without end, and the rows in that."""
    import pyarrow as pa

    known = [msgspec.json.decode(body)["features"] for body in node.bodies]
    table = pa.Table.from_pylist([known[place % len(known)] for place in range(BATCH_ROWS)])
    batch = table.combine_chunks().to_batches()[0]
    lines = b"\n".join(node.bodies) + b"\n"
    return {
        "NDJSON": (b"", lines, len(known)),
        "Arrow": (
            table.schema.serialize().to_pybytes(),
            batch.serialize().to_pybytes(),
            BATCH_ROWS,
        ),
    }


def _lines(cpu_us: dict[str, list[float]]) -> Iterator[Line]:
    bare = statistics.median(cpu_us["bare"])
    yield Line("streams", "bare ONNX Runtime loop", bare, "us CPU a row")
    for name in TYPES:
        spent = statistics.median(cpu_us[name])
        yield Line("streams", name, spent, "us CPU a row")
        yield Line("streams", f"{name}, per core", 1e6 / spent, "rows/s", LIMITS.get(name, ""))
    pairs = zip(cpu_us["bare"], cpu_us["Arrow"], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    yield Line("streams", "Arrow beside the bare loop", ratio, "x", ARROW_FLOOR)


def bodies_of(node: Node, rows: int) -> dict[str, bytes]:
    """The node's rows, repeated, in each form."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    known = [msgspec.json.decode(body)["features"] for body in node.bodies]
    table = pa.Table.from_pylist([known[place % len(known)] for place in range(rows)])
    lines = [node.bodies[place % len(node.bodies)] for place in range(rows)]
    text, arrow = io.BytesIO(), io.BytesIO()
    arrow_csv.write_csv(table, text)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    return {"NDJSON": b"\n".join(lines), "CSV": text.getvalue(), "Arrow": arrow.getvalue()}


def send(server: Server, node: Node, body: bytes, kind: str) -> float:
    """One stream; processor seconds that it took the server.

    Raises:
        TargetError: another answer than a stream of results.
    """
    from loadtest.bench.credit import ENDPOINT

    before = server.cpu_s()
    connection = http.client.HTTPConnection(server.target.host, server.target.port)
    try:
        connection.putrequest("POST", f"/v1/stream/{ENDPOINT}")
        for name, value in (
            ("Authorization", f"Bearer {node.key}"),
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
        line = connection.sock.dup()  # the connection lets go of its own as an answer begins

        def push() -> None:
            with line, contextlib.suppress(OSError):  # refused: the answer says why
                for piece in pieces:
                    line.sendall(piece)

        sender = threading.Thread(target=push)
        sender.start()
        answer = connection.getresponse()
        first, size = answer.read1(PIECE), 0
        while piece := answer.read1(1 << 20):
            size += len(piece)
        sender.join()
        if answer.status != 200 or size < len(body) // 10:
            raise TargetError(f"expected results of {kind}, got {answer.status} {first[:200]!r}")
    finally:
        connection.close()
    return server.cpu_s() - before


def bare_loop(node: Node, rows: int, *, together: int = 0) -> Callable[[], None]:
    """Only ``session.run``, in the shares in which the rules send the rows to the models.

    Args:
        node: whose rows and models.
        rows: of one loop.
        together: rows that share a run of each model; 0 has every model run on
            :data:`RUN_ROWS` of its own at once.
    """
    import numpy as np
    import pyarrow as pa

    from compiler.models.session import open_session
    from compiler.package import read_package
    from compiler.rules.pipeline import compile_rules
    from loadtest.bench.credit import RULES
    from router.columnar.inputs import read_inputs
    from serving.engine import Engine

    routing = compile_rules({"text": RULES}, features=node.features)
    known = [msgspec.json.decode(body)["features"] for body in node.bodies]
    batch = pa.Table.from_pylist(known).combine_chunks().to_batches()[0]
    inputs = read_inputs(batch, node.features)
    leaves = routing.numpy(inputs.rules, inputs.rows, 0)
    work: list[tuple[Any, Any]] = []
    for folder in sorted((node.folder / "store" / "packages").iterdir()):
        model = Engine.load(folder)
        matrix = model.encode_columns(inputs.model, inputs.rows)
        names = [getattr(each, "model", None) for each in routing.consequents]
        mine = np.flatnonzero(np.isin(leaves, [n for n, m in enumerate(names) if m == model.name]))
        if len(mine):
            session = open_session(read_package(folder).files["model.onnx"])
            work.append((session, matrix[np.resize(mine, len(mine) * rows // len(known))]))
    parts: list[list[tuple[Any, str, Any]]] = []
    for session, matrix in work:
        graph = session.get_inputs()[0].name
        count = rows // together if together else -(-len(matrix) // RUN_ROWS)
        parts.append([(session, graph, part) for part in np.array_split(matrix, count)])
    # together as requests come: all models, then the next request
    turns = list(zip(*parts, strict=True)) if together else parts

    def loop() -> None:
        for turn in turns:
            for session, graph, matrix in turn:
                session.run(["probabilities"], {graph: matrix})

    return loop
