"""``interlock nodes drain``: what a scale-in hook runs on the node that goes away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from interlock.commands.roles import home_option
from interlock.drain import DrainError, end, supervisors_of, writers_of
from interlock.settings import Environment, read_environment

if TYPE_CHECKING:
    from serving.audit.coverage import Coverage


@click.command("drain")
@click.argument("node", required=False)
@click.option("--wait", is_flag=True, help="End only when all it recorded is in the database.")
@click.option("--timeout", "limit_s", type=click.FloatRange(1), default=300.0, show_default=True,
              help="Longest wait, in seconds.")  # fmt: skip
@home_option
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def drain(
    *, node: str | None, wait: bool, limit_s: float, home: Path | None, as_json: bool
) -> None:
    """Let this node's router finish and end; run it on the node itself, before its shipper ends.

    The router takes no new connections, answers what it has, seals its spool. With --wait the
    command goes on until the ledger in PostgreSQL covers every segment and every columnar part is
    in the artifact store: then the node's disk may be thrown away.

    Exit status: 0 drained (or, without --wait, told to), 1 records are left, 2 usage.

    Example: interlock nodes drain --wait --timeout 600
    """
    env = read_environment(home=home, role="auditor")
    if node is not None and node != env.node:
        raise DrainError(
            f"expected to run on node {node!r}, this is {env.node!r}",
            hint="run it there; INTERLOCK_NODE names a node",
        )

    def tell(text: str) -> None:
        if not as_json:
            click.echo(text, err=True)

    routers = supervisors_of(writers_of(env.spool / env.node))
    end(routers)
    told = ", ".join(map(str, routers))
    tell(f"node {env.node}: router {told} drains" if routers else f"node {env.node}: no router")
    found = None
    if wait:
        found = asyncio.run(_drained(env, limit_s, tell))
    if as_json:
        answer = {"node": env.node, "routers": routers, "spool": found}
        click.echo(msgspec.json.encode(answer).decode())
    elif found is not None and found.drained:
        click.echo(f"node {env.node} is drained: {found.segments} segments, all in the database")
    elif found is not None:
        click.echo(
            f"node {env.node}: {found.frames} records and {found.parts} parts are not in the "
            f"database, {found.writing} files are being written; is the shipper running?"
        )
    if found is not None and not found.drained:
        sys.exit(1)


async def _drained(env: Environment, limit_s: float, tell: Callable[[str], None]) -> Coverage:
    """The coverage when nothing is left, or when the time is up."""
    from serving.audit.coverage import coverage, wait_drained
    from serving.audit.link import connect_once

    last: list[tuple[int, int, int]] = []

    def progress(found: Coverage) -> None:
        now = (found.frames, found.writing, found.parts)
        if not found.drained and now not in last[-1:]:
            tell(f"{found.frames} records left, {found.writing} files being written")
            last.append(now)

    return await connect_once(
        env.need_database(),
        "interlock nodes drain",
        lambda connection: wait_drained(
            lambda: coverage(connection, env.spool, env.node), limit_s, progress
        ),
    )
