"""``interlock bench start``: from nothing to a played story, and from a kept home to an answer."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec

from loadtest.bench.lines import keep
from loadtest.bench.models import Line, show
from loadtest.errors import LoadTestError
from loadtest.plan import Target
from loadtest.preflight import exchange
from loadtest.requests import build_request
from loadtest.stack import find_demo_key

ENDPOINT = "credit"
LIMIT_S = 120.0
_EVERY_S = 0.01


@click.command()
@click.option("--runs", type=click.IntRange(1, 20), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
@click.pass_context
def start(ctx: click.Context, *, runs: int, as_json: bool) -> None:
    """Start the whole stack on an empty home with its story, and again on the same home.

    The first time lasts until the story has ended, training included; the second until the first
    prediction is answered.
    """
    firsts, seconds = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="interlock-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            if not as_json:
                click.echo("first start ...", err=True)
            firsts.append(first_start(folder / "home"))
            if not as_json:
                click.echo("second start ...", err=True)
            seconds.append(second_start(folder / "home"))
    lines = [
        Line("start", "empty home, until the story has ended", sorted(firsts)[runs // 2], "s"),
        Line("start", "kept home, until the first answer", sorted(seconds)[runs // 2], "s"),
    ]
    keep(ctx, lines)
    if as_json:
        click.echo(msgspec.json.encode(lines).decode())
    else:
        show(lines)


def first_start(home: Path) -> float:
    """Seconds of ``interlock up --demo --exit`` on an empty home.

    Raises:
        LoadTestError: a step of the story did not hold.
    """
    began = time.monotonic()
    done = subprocess.run(
        _command(home, "--demo", "--exit"), capture_output=True, text=True, check=False,
        timeout=LIMIT_S,
    )  # fmt: skip
    if done.returncode:
        raise LoadTestError(
            f"the demo ended with {done.returncode}", at="interlock up", hint=done.stdout[-400:]
        )
    return time.monotonic() - began


def second_start(home: Path) -> float:
    """Seconds from ``interlock up`` on a kept home to the first answered prediction.

    Raises:
        LoadTestError: it ended, or did not answer in time.
    """
    target = Target("127.0.0.1", _free_port())
    request = build_request(
        target, f"/v1/predict/{ENDPOINT}", b'{"features":{}}', keep_alive=False,
        headers=(("Authorization", f"Bearer {find_demo_key(home)}"),),
    )  # fmt: skip
    began = time.monotonic()
    child = subprocess.Popen(
        _command(home, "--port", str(target.port)), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while time.monotonic() - began < LIMIT_S:
            if child.poll() is not None:
                raise LoadTestError(f"it ended with {child.returncode}", at="interlock up")
            # an answer about the features of this endpoint needs its release, models and key
            with contextlib.suppress(LoadTestError):
                answer = exchange(target, request, 1.0)
                if answer.status in {200, 422} and b"features" in answer.body:
                    return time.monotonic() - began
            time.sleep(_EVERY_S)
        raise LoadTestError(f"no answer within {LIMIT_S:g} s", at="interlock up")
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


def _command(home: Path, *flags: str) -> list[str]:
    ports = [] if "--port" in flags else ["--port", str(_free_port())]
    return [
        sys.executable, "-m", "interlock", "up", "--home", str(home), "--control-port",
        str(_free_port()), *ports, *flags,
    ]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
