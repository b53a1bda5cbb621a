"""Plays the whole story, chapter by chapter."""

from __future__ import annotations

import shlex
import threading
import time
import traceback
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from compiler.errors import AppError
from interlock.settings import Environment
from interlock.stack.probe import base_url
from interlock.story import cast, endpoint, evidence, people, serving, training
from interlock.story.client import StoryStoppedError
from interlock.story.narrator import Narrator
from interlock.story.scene import Scene


def play(env: Environment, console: Console, stopped: threading.Event) -> bool:
    """Play the story against a running stack.

    Args:
        env: of the stack.
        console: where it is told.
        stopped: set from outside to end it early.

    Returns:
        Whether every step held.
    """
    narrator = Narrator(console)
    started = time.perf_counter()
    try:
        scene = Scene(
            env.home,
            control_url=base_url(env.bind, env.control_port),
            router_url=base_url(env.bind, env.port),
            workers=env.workers,
            narrator=narrator,
            stopped=stopped,
        )
        _chapters(scene)
    except StoryStoppedError:
        narrator.tell("the story was stopped")
        return False
    except Exception as error:
        said = str(error) if isinstance(error, AppError | OSError) else _where(error)
        console.print(Text(f"\n   x {said}", style="bold red"), soft_wrap=True)
        narrator.tell(f"{narrator.held} steps held before; see {env.home.log}")
        return False
    took = time.perf_counter() - started
    _end(scene, env, console, f"{narrator.held} in {took:.0f} s")
    return True


def _chapters(scene: Scene) -> None:
    people.play(scene)
    training.play_data(scene)
    versions = training.play_training(scene)
    training.play_approvals(scene, versions)
    endpoint.play(scene, versions)
    given = serving.play_requests(scene)
    serving.play_errors(scene)
    evidence.play_records(scene, given)
    evidence.play_subject(scene, given)
    ledger, since = serving.play_kill(scene)
    evidence.play_completeness(scene, ledger, since)


def _where(error: Exception) -> str:
    """An answer that the story did not expect, as one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} - at {Path(last.filename).name}:{last.lineno}"


def _end(scene: Scene, env: Environment, console: Console, summary: str) -> None:
    """Where everything is, and a request to paste."""
    console.print(Text(f"\nEvery step held: {summary}.", style="bold green"))
    lines = (
        ("predictions", f"{scene.router_url}/v1/predict"),
        ("control plane", f"{scene.control_url}/docs"),
        ("data and keys", str(env.home.path)),
        ("one log", str(env.home.log)),
        ("passwords", f"{env.home.secrets / 'story.json'} (of the four people)"),
    )
    for name, value in lines:
        console.print(Text(f"  {name:<14} {value}"), soft_wrap=True)
    console.print()
    console.out(curl(scene.router_url, scene.memory.key), highlight=False)


def curl(router_url: str, key: str) -> str:
    """One line that can be pasted into a shell."""
    body = msgspec.json.encode({"features": cast.records()[cast.applicants()[0].row]}).decode()
    return (
        f"curl -s {router_url}/v1/predict -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
