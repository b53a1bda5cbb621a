"""``interlock up``: the whole stack on this machine."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
from pathlib import Path

import click
import msgspec
from rich.console import Console

from interlock.settings import Environment, read_environment
from interlock.stack.stack import Stack
from interlock.stack.steps import Steps


@click.command()
@click.option("--demo", is_flag=True, help="Play the lending story on real data.")
@click.option("--exit", "leave", is_flag=True, help="End after the story; 0 if every step held.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the stack (INTERLOCK_HOME, else ~/.interlock).",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Data plane (8080).")
@click.option("--control-port", type=click.IntRange(1, 65535), help="Control plane (8081).")
@click.option("--workers", type=click.IntRange(1), help="Router processes.")
def up(
    *,
    demo: bool,
    leave: bool,
    home: Path | None,
    port: int | None,
    control_port: int | None,
    workers: int | None,
) -> None:
    """Run the whole stack on this machine, with its own PostgreSQL and Redis.

    DATABASE_URL, REDIS_URL and ARTIFACT_STORE make it use yours. Ctrl-C drains and stops it.
    """
    if leave and not demo:
        raise click.UsageError("--exit ends after the story: it needs --demo")
    env = read_environment(home=home)
    if demo and env.tls is not None:
        raise click.UsageError("the story speaks plain HTTP: unset INTERLOCK_TLS_*, or omit --demo")
    changes = {"port": port, "control_port": control_port, "workers": workers}
    env = msgspec.structs.replace(
        env, **{name: value for name, value in changes.items() if value is not None}
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 must not end a story
    sys.exit(asyncio.run(_up(env, Console(highlight=False), demo=demo, leave=leave)))


async def _up(env: Environment, console: Console, *, demo: bool, leave: bool) -> int:
    """Start, play the story if asked, serve until a signal, drain; the exit status."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    this_task = asyncio.current_task()
    assert this_task is not None
    starting = True

    def stop(number: signal.Signals) -> None:
        if asked_to_stop.is_set():  # the second Ctrl-C: the kernel ends the children after us
            console.print("[red]stopped without draining[/]")
            os._exit(130)
        asked_to_stop.set()
        console.print(f"[dim]{number.name}: draining[/]")
        if starting:
            this_task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)

    status = 0
    try:
        async with Stack(env, Steps(console)) as stack:
            starting = False
            _welcome(stack, console, demo=demo)
            if demo:
                status = await _story(stack, console, asked_to_stop)
            if not leave and not asked_to_stop.is_set():
                if not demo and stack.log is not None:
                    stack.log.show_all = True
                console.print("[dim]serving; Ctrl-C drains and stops[/]")
                await asked_to_stop.wait()
    except asyncio.CancelledError:
        if not asked_to_stop.is_set():
            raise
        console.print("[dim]stopped before it was ready[/]")
        return 130
    console.print("[dim]stopped[/]")
    return status


def _welcome(stack: Stack, console: Console, *, demo: bool) -> None:
    """Where everything is."""
    lines = [f"note: {note}" for note in stack.notes]
    lines += [
        f"  data plane     {stack.router_url}  (docs at /docs)",
        f"  control plane  {stack.control_url}  (docs at /docs)",
        f"  home           {stack.home.path}  (log in {stack.home.log})",
    ]
    if stack.is_new and not demo:
        words = "interlock users bootstrap --email YOU@EXAMPLE --name NAME --home"
        lines.append(f"  first person   {words} {stack.home.path}")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


async def _story(stack: Stack, console: Console, asked_to_stop: asyncio.Event) -> int:
    """Play the story on a thread of its own until it ends or a signal comes."""
    from interlock.story.play import play

    stopped = threading.Event()
    story = asyncio.create_task(asyncio.to_thread(play, stack.env, console, stopped))
    signalled = asyncio.create_task(asked_to_stop.wait())
    await asyncio.wait([story, signalled], return_when=asyncio.FIRST_COMPLETED)
    stopped.set()
    signalled.cancel()
    held = await story
    if asked_to_stop.is_set():
        return 130
    return 0 if held else 1
