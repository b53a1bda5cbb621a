"""``interlock bench``: one command per figure of the README."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

BENCHES: dict[str, str] = {
    "rules": "One decision, whole columns and the compiler, beside other rule engines.",
    "models": "One-row and batch scoring of exported models.",
    "serve": "What one request costs one router worker.",
    "streams": "Rows a second through one router worker.",
    "audit": "What a record costs the request, and how fast records are shipped.",
    "bulk": "Files of rows, beside bare ONNX Runtime and scikit-learn.",
    "control": "The control plane under use.",
    "generator": "What the load generator itself can do here.",
    "start": "The whole stack, from nothing and on a kept home.",
}


class BenchGroup(click.Group):
    """Sub-commands from ``loadtest.bench.NAME``, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(BENCHES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one benchmark; one that this installation lacks says so when called."""
        if cmd_name not in BENCHES:
            return None
        module = f"loadtest.bench.{cmd_name}"
        try:
            command: Any = getattr(importlib.import_module(module), cmd_name)
        except ModuleNotFoundError as error:
            return _missing(cmd_name, module, error.name or "")
        assert isinstance(command, click.Command)
        return _with_plot(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help from the table, so that help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl(list(BENCHES.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a benchmark; what it refuses ends with its message and status 2."""
        from compiler.errors import AppError

        try:
            return super().invoke(ctx)
        except AppError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


def _with_plot(command: click.Command) -> click.Command:
    """Give a benchmark ``--plot`` unless it has its own: a picture of the lines that it keeps."""
    inner = command.callback
    if inner is None or any(parameter.name == "plot" for parameter in command.params):
        return command

    @click.pass_context
    def callback(ctx: click.Context, /, *args: Any, plot: Path | None, **flags: Any) -> Any:
        from loadtest.bench.lines import KEPT, plot_lines

        try:
            return ctx.invoke(inner, *args, **flags)
        finally:  # a benchmark that misses a limit ends with a status, and is drawn all the same
            lines = (ctx.obj or {}).get(KEPT)
            if plot is not None and lines:
                plot_lines(command.name or "", lines, plot)
                click.echo(f"plot: {plot}", err=True)

    option = click.Option(
        ["--plot"], type=click.Path(dir_okay=False, path_type=Path), help="Write a PNG."
    )
    command.params.append(option)
    command.callback = callback
    return command


def _missing(name: str, module: str, lacking: str) -> click.Command:
    why = (
        f"this installation has no benchmark {name!r}"
        if lacking == module
        else f"benchmark {name!r} needs {lacking!r}, which is not installed "
        "(pip install 'interlock[all,bench]')"
    )

    @click.command(name, context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1)
    def refuse(rest: tuple[str, ...]) -> None:  # noqa: ARG001 - flags it cannot know
        raise click.UsageError(why)

    return refuse


@click.group(cls=BenchGroup)
@click.pass_context
def bench(ctx: click.Context) -> None:
    """Reproduce the figures of the README on this machine."""
    ctx.obj = {
        "credit_data": Path(__file__).resolve().parent.parent / "data" / "german_credit.csv",
        "database": _scratch_database,
    }


def _scratch_database() -> AbstractContextManager[str]:
    """URL of a migrated PostgreSQL that ends with the benchmark."""
    from interlock.benchdb import scratch_database

    return scratch_database()
