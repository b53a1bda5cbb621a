"""``interlock bench control``: the control plane under use, on a database of years.

Every list and read route is called one after another; then fifty users call at a constant rate
without waiting for each other (an open loop: a late answer delays nobody's next request).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import msgspec
import numpy as np
from msgspec import Struct

from compiler.signing import KeyPair, b64
from loadtest.bench.control_data import KINDS, measure_data
from loadtest.bench.control_live import LiveFigures, measure_live
from loadtest.bench.control_reads import READS, resolve
from loadtest.bench.control_state import SUBJECT_KEY, add_audit_rows, fill
from loadtest.bench.http_client import Client
from loadtest.bench.node import free_port
from loadtest.errors import LoadTestError, TargetError

PASSWORD = "a long sentence for a benchmark"  # noqa: S105 - of a database that ends with the run
ADMIN = "admin@bank.example"
MANAGER = "manager@bank.example"
LIMIT_MS = 20.0
USERS = 50
PER_S = 200
PUBLISH_S = 1.0
SUSPEND_S = 2.0


class ReadFigures(Struct, frozen=True):
    """One route at one size of the audit; milliseconds."""

    audit_rows: int
    name: str
    p50_ms: float
    p99_ms: float
    calls: int


class LoadFigures(Struct, frozen=True):
    """Fifty users at a constant rate; milliseconds from the time a request was due."""

    audit_rows: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


@contextlib.contextmanager
def control_plane(database_url: str) -> Iterator[tuple[int, str]]:
    """A control-plane process on a database: its port and the first superadmin's token file.

    Raises:
        TargetError: it is not ready within 30 seconds; shows the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="il-bench-") as folder:
        home, port = Path(folder), free_port()
        secrets = home / "secrets"
        root = KeyPair.generate()
        root.save(secrets / "root.key")
        KeyPair.generate().save(secrets / "releaser.key")
        (secrets / "root.pub").write_text(b64(root.public))
        (secrets / "subject.key").write_bytes(SUBJECT_KEY)
        (secrets / "bootstrap.token").write_text("bench")
        log = home / "log"
        env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "INTERLOCK_HOME": str(home),
            "INTERLOCK_CONTROL_PORT": str(port),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "interlock", "control-plane"],
                env=env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            if not asyncio.run(_ready(port, process)):
                raise TargetError(f"the control plane did not start:\n{log.read_text()[-800:]}")
            yield port, "bench"
        finally:
            process.terminate()
            process.wait(15)


async def _ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the process answers; False when it ended or needed more than 30 seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            client = Client(port)
            await client.call("GET", "/roles")
            await client.close()
            return True
        await asyncio.sleep(0.05)
    return False


async def log_in(port: int, bootstrap_token: str) -> str:
    """A manager's session on a fresh database."""
    client = Client(port)
    admin = {"name": "Admin", "email": ADMIN, "password": PASSWORD}
    await client.expect("POST", "/bootstrap", {"token": bootstrap_token, **admin})
    token = await client.expect("POST", "/login", {"email": ADMIN, "password": PASSWORD})
    await client.close()
    client = Client(port, token["token"])
    person = {"name": "Mia", "email": MANAGER, "password": PASSWORD, "role": "manager"}
    await client.expect("POST", "/users", person)
    session = await client.expect("POST", "/login", {"email": MANAGER, "password": PASSWORD})
    await client.close()
    return str(session["token"])


async def read_each(port: int, token: str, rows: int, calls: int) -> list[ReadFigures]:
    """Every read route, one call at a time."""
    client = Client(port, token)
    figures = []
    for name, path in await resolve(partial(client.expect, "GET")):
        times = []
        for number in range(calls + 3):
            begun = time.perf_counter()
            status, answer = await client.call("GET", path)
            if status != 200:
                raise LoadTestError(f"GET {path} answered {status}: {answer.decode()[:300]}")
            if number >= 3:  # the first calls fill caches of the database
                times.append((time.perf_counter() - begun) * 1000)
        p50, p99 = np.percentile(times, [50, 99], method="higher")
        figures.append(ReadFigures(rows, name, float(p50), float(p99), calls))
    await client.close()
    return figures


async def many_users(port: int, token: str, rows: int, seconds: float) -> LoadFigures:
    """Fifty users, each with a connection, at a constant total rate."""
    total = int(PER_S * seconds)
    times: list[float] = []
    errors = 0
    asking = Client(port, token)
    paths = [path for _, path in await resolve(partial(asking.expect, "GET"))]
    await asking.close()
    start = time.perf_counter() + 0.2

    async def one_user(first: int) -> None:
        nonlocal errors
        client = Client(port, token)
        for number in range(first, total, USERS):
            due = start + number / PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            status, _ = await client.call("GET", paths[number % len(paths)])
            times.append((time.perf_counter() - due) * 1000)
            errors += status != 200
        await client.close()

    await asyncio.gather(*(one_user(user) for user in range(USERS)))
    spent = time.perf_counter() - start
    p50, p99 = np.percentile(times, [50, 99], method="higher")
    return LoadFigures(rows, total / spent, float(p50), float(p99), errors)


@click.command()
@click.option("--audit-rows", default="100000,1000000", show_default=True, help="Sizes, growing.")
@click.option("--calls", default=300, show_default=True, help="Calls per route and size.")
@click.option("--seconds", default=10.0, show_default=True, help="Length of the load.")
@click.option("--database", help="A migrated, empty database; default: one of its own.")
@click.option(
    "--live",
    type=click.Path(exists=True, path_type=Path),
    help="Home of a running demo stack: measure only publish, suspend and resume on it.",
)
@click.option(
    "--only",
    type=click.Choice(KINDS),
    multiple=True,
    help="Data, training and validation instead: a search, a large ingest, a million rows judged.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a PNG.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def control(
    ctx: click.Context,
    *,
    only: tuple[str, ...],
    audit_rows: str,
    calls: int,
    seconds: float,
    database: str | None,
    live: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Read routes and fifty users, with 1,000 models, 10,000 versions and growing evidence.

    Example: interlock bench control --audit-rows 100000,1000000,10000000 --plot control.png
    """
    if only:
        _show_data(ctx, only, plot, as_json=as_json)
        return
    if live is not None:
        _show_live(ctx, asyncio.run(measure_live(live)), as_json=as_json)
        return
    sizes = [int(size) for size in audit_rows.split(",")]
    reads: list[ReadFigures] = []
    loads: list[LoadFigures] = []

    def tell(what: str) -> None:
        click.echo(what, err=True)

    with contextlib.ExitStack() as stack:
        if database is None:
            scratch = (ctx.obj or {}).get("database")
            if scratch is None:
                raise LoadTestError("expected --database, this command has no scratch one")
            tell("starting a scratch PostgreSQL")
            database = str(stack.enter_context(scratch()))
        asyncio.run(fill(database, tell))
        port, bootstrap_token = stack.enter_context(control_plane(database))
        token = asyncio.run(log_in(port, bootstrap_token))
        have = 0
        for size in sizes:
            asyncio.run(add_audit_rows(database, have, size, tell))
            have = size
            tell(f"reading with {size:,} audit rows")
            reads += asyncio.run(read_each(port, token, size, calls))
            tell(f"{USERS} users at {PER_S}/s for {seconds:.0f} s")
            loads.append(asyncio.run(many_users(port, token, size, seconds)))
    _show(reads, loads, sizes, click.echo, as_json=as_json)
    if plot is not None:
        from loadtest.bench.control_plot import plot_control

        plot_control(reads, loads, LIMIT_MS, plot)
        tell(f"plot: {plot}")
    slow = [figure for figure in reads if figure.p99_ms > LIMIT_MS]
    for each in slow:
        tell(f"over {LIMIT_MS:.0f} ms: {each.name}, {each.audit_rows:,} rows, {each.p99_ms:.1f}")
    if slow or any(load.errors for load in loads):
        ctx.exit(4)


def _show_data(
    ctx: click.Context, only: tuple[str, ...], plot: Path | None, *, as_json: bool
) -> None:
    from loadtest.bench.lines import plot_lines
    from loadtest.bench.models import show

    with tempfile.TemporaryDirectory(prefix="il-bench-") as name:
        lines = list(
            measure_data(
                only, Path(name), Path(ctx.obj["credit_data"]),
                lambda what: click.echo(what, err=True),
            )
        )  # fmt: skip
    if as_json:
        click.echo(msgspec.json.encode(lines).decode())
    else:
        show(lines)
    if plot is not None:
        plot_lines("bench control", lines, plot)


def _show_live(ctx: click.Context, figures: LiveFigures, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(figures).decode())
    else:
        click.echo(f"until {figures.connections} connections over all workers follow, seconds")
        click.echo(f"publish  {figures.publish_s:.3f}  (limit {PUBLISH_S})")
        click.echo(f"suspend  {figures.suspend_s:.3f}  (limit {SUSPEND_S})")
        click.echo(f"resume   {figures.resume_s:.3f}")
    if figures.publish_s > PUBLISH_S or figures.suspend_s > SUSPEND_S:
        ctx.exit(4)


def _show(
    reads: list[ReadFigures],
    loads: list[LoadFigures],
    sizes: list[int],
    say: Callable[[str], None],
    *,
    as_json: bool,
) -> None:
    if as_json:
        say(msgspec.json.encode({"reads": reads, "loads": loads}).decode())
        return
    say("one call at a time, milliseconds p50 / p99, by audit rows")
    say(f"{'':20}" + "".join(f"{size:>18,}" for size in sizes))
    for name, _ in READS:
        mine = [figure for figure in reads if figure.name == name]
        cells = "".join(f"{f.p50_ms:>9.1f}/{f.p99_ms:>7.1f} " for f in mine)
        say(f"{name:20}{cells}")
    for load in loads:
        say(
            f"{USERS} users, {load.audit_rows:,} audit rows: {load.per_s:.0f}/s, "
            f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, {load.errors} errors"
        )
