"""The processes of the stack, each also on its own: ``interlock router`` and its siblings."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from interlock.settings import (
    Environment,
    control_settings,
    explainer_settings,
    read_environment,
    router_settings,
    shipper_settings,
    worker_settings,
)

Command = Callable[..., Any]


def home_option(command: Command) -> Command:
    """``--home DIR`` as every command has it."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the stack (INTERLOCK_HOME, else ~/.interlock).",
    )(command)


def log_to_stderr() -> None:
    """Log lines without a time where somebody else adds it: the supervisor, a journal."""
    time = "%(asctime)s " if sys.stderr.isatty() else ""
    logging.basicConfig(level=logging.INFO, format=f"{time}%(levelname)s %(name)s: %(message)s")


def reach_database(env: Environment) -> None:
    """Fail at once, in one line, when the database does not answer.

    Raises:
        AppError: no URL, or nobody there.
    """
    from interlock.stack.database import check_database

    asyncio.run(check_database(env.need_database()))


@click.command()
@home_option
def router(home: Path | None) -> None:
    """Serve predictions; works on while the database and Redis are away."""
    from router.serve import run

    log_to_stderr()
    run(router_settings(read_environment(home=home, role="router")))


@click.command("control-plane")
@home_option
def control_plane(home: Path | None) -> None:
    """Serve the control plane: people, models, endpoints, releases, audit."""
    env = read_environment(home=home, role="control")
    reach_database(env)
    from control_plane.serve import run

    log_to_stderr()
    run(control_settings(env))


@click.command()
@home_option
def shipper(home: Path | None) -> None:
    """Ship this node's audit records to PostgreSQL; one per node."""
    env = read_environment(home=home, role="shipper")
    env.need_database()  # a database that is away is waited for: the spool holds the records
    from serving.audit.shipper import run

    log_to_stderr()
    run(shipper_settings(env))


@click.command()
@home_option
def explainer(home: Path | None) -> None:
    """Explain recorded decisions."""
    env = read_environment(home=home, role="explainer")
    env.need_database()
    from serving.explain.process import run

    log_to_stderr()
    run(explainer_settings(env))


@click.command()
@home_option
def worker(home: Path | None) -> None:
    """Run training and validation jobs."""
    env = read_environment(home=home, role="worker")
    reach_database(env)
    from control_plane.jobs.worker import run

    log_to_stderr()
    run(worker_settings(env))


@click.command()
@home_option
def migrate(home: Path | None) -> None:
    """Bring the database up to date."""
    from control_plane.db import migrate as migrations

    env = read_environment(home=home, role="owner")
    applied = asyncio.run(migrations.migrate(env.need_database()))
    click.echo(f"applied: {', '.join(map(str, applied))}" if applied else "nothing to do")
