"""``interlock loadtest``: measure a running endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from loadtest.comparing import compare
from loadtest.flags import build_plan, parse_seconds, target_options
from loadtest.planning import plan, report
from loadtest.stack import find_home, find_services

PROFILES = ("constant", "ramp", "step", "spike", "soak", "onoff")


class _Refusing(click.Group):
    """A group in which what cannot be used ends with its message and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from compiler.errors import AppError

        try:
            return super().invoke(ctx)
        except AppError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            ctx.exit(130)


def _evidence(home: str | None) -> str | None:
    """URL of the database behind a home's stack; None when there is none."""
    from interlock.settings import read_environment

    return read_environment(home=Path(home) if home else None, role="control").database_url


@click.group(cls=_Refusing)
@click.pass_context
def loadtest(ctx: click.Context) -> None:
    r"""Measure a running endpoint: open loop, corrected latency, certified percentiles.

    \b
    Exit status: 0 pass, 99 a threshold failed, 3 the run is not valid,
    4 regression, 5 inconclusive, 2 usage (no load was sent), 130 interrupted.
    """
    ctx.obj = _evidence


for _command in (plan, compare, report):
    loadtest.add_command(_command)

_THRESHOLD = click.option(
    "--threshold", "--slo", "thresholds", multiple=True,
    help="Such as 'p99<25ms', 'err<0.1%', 'goodput>=99%'; repeatable. "
    "Default: the endpoint's own objectives, when its release is known here.",
)  # fmt: skip
_OUT = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the report.")
_SEED = click.option("--seed", type=int, default=1, show_default=True)
_WARMUP = click.option("--warmup", default="2s", callback=parse_seconds, show_default=True)
_AGENTS = click.option(
    "--agent", "agents", multiple=True,
    help="HOST:PORT of an agent that sends; repeat to share one schedule.",
)  # fmt: skip
_TOKEN = click.option(
    "--token", envvar="INTERLOCK_AGENT_TOKEN", default="", help="Shared with agents."
)
_ARRIVAL = click.option(
    "--arrival", type=click.Choice(["poisson", "constant"]), default="poisson", show_default=True
)


@loadtest.command()
@target_options
@click.option("--rate", type=float, default=100.0, show_default=True, help="Requests per second.")
@click.option("--duration", default="10s", callback=parse_seconds, show_default=True)
@_WARMUP
@_ARRIVAL
@click.option("--profile", type=click.Choice(PROFILES), default="constant", show_default=True)
@click.option("--to", type=float, help="Second rate of ramp, step and spike.")
@click.option("--steps", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--on", "on_s", default="1s", callback=parse_seconds, help="Burst of onoff.")
@click.option("--off", "off_s", default="1s", callback=parse_seconds, help="Silence of onoff.")
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path),
              help="File of times in seconds that replaces rate and profile.")  # fmt: skip
@_SEED
@click.option("--closed", is_flag=True, help="Closed loop; labelled so in every output.")
@click.option("--concurrency", type=int, default=8, show_default=True, help="Of a closed loop.")
@_THRESHOLD
@click.option("--abort-on-fail", is_flag=True, help="End early once a threshold has failed.")
@click.option("--abort-delay", default="10s", callback=parse_seconds, show_default=True)
@_OUT
@_JSON
@click.option("--quiet", is_flag=True, help="No live view.")
@_AGENTS
@_TOKEN
def run(**flags: Any) -> None:
    """Hold a rate, or follow a profile, and report what it did to latency."""
    from loadtest.agents import parse_agent
    from loadtest.calibrate import load_ceiling
    from loadtest.live import Watch
    from loadtest.profiles import build_load
    from loadtest.run import run as run_plan
    from loadtest.show import show
    from loadtest.store import write_run
    from loadtest.summary import encode

    made = build_plan(build_load(flags), flags["thresholds"], flags)
    ceiling = load_ceiling(find_home(flags["home"]) / "loadtest" / "calibration.json", made)
    shown = not flags["quiet"] and sys.stderr.isatty()
    abort_after = flags["abort_delay"] if flags["abort_on_fail"] else None
    with Watch(made, shown=shown, abort_after_s=abort_after) as watch:
        outcome = run_plan(
            made, ceiling=ceiling, watch=watch, token=flags["token"].encode(),
            agents=tuple(parse_agent(text) for text in flags["agents"]),
            services=find_services(find_home(flags["home"])),
        )  # fmt: skip
    if flags["out"] is not None:
        write_run(outcome, flags["out"])
    if flags["as_json"]:
        sys.stdout.buffer.write(encode(outcome.summary))
    else:
        show(outcome.summary)
    if watch.aborted:
        click.echo(f"ended early: {watch.aborted} had failed", err=True)
        sys.exit(99)
    sys.exit(outcome.summary.exit_status)


@loadtest.command()
@target_options
@click.option("--start", type=float, default=100.0, show_default=True, help="A safe rate.")
@click.option("--most", type=float, default=200_000.0, show_default=True, help="Never more.")
@click.option("--probe", default="10s", callback=parse_seconds, show_default=True,
              help="Measured time of one probe.")  # fmt: skip
@click.option("--confirm", default="60s", callback=parse_seconds, show_default=True,
              help="Measured time of the confirming run.")  # fmt: skip
@click.option("--width", type=click.FloatRange(0.005, 0.5), default=0.03, show_default=True)
@click.option("--searches", type=click.IntRange(1, 99), default=1, show_default=True,
              help="Repeat the search; plan takes the lower end of three or more.")  # fmt: skip
@_WARMUP
@_ARRIVAL
@_SEED
@_THRESHOLD
@_AGENTS
@_TOKEN
@_OUT
@_JSON
def knee(**flags: Any) -> None:
    """Find the highest rate that keeps the objectives, and the whole curve around it."""
    from loadtest.agents import parse_agent
    from loadtest.plan import Load
    from loadtest.schedule import constant
    from loadtest.search import search
    from loadtest.show_knee import show_knee, show_probe
    from loadtest.store import write_knee

    load = Load(constant(flags["start"], flags["probe"]), flags["arrival"], flags["warmup"],
                flags["seed"])  # fmt: skip
    made = build_plan(load, flags["thresholds"], flags)
    if not made.thresholds:
        raise click.UsageError("what should hold? Give --threshold, such as 'p99<5ms'")

    def tell(probe: Any) -> None:
        if not flags["as_json"]:
            click.echo(show_probe(probe))

    services = find_services(find_home(flags["home"]))
    confirmed = True
    for number in range(1, flags["searches"] + 1):
        found = search(
            made, start=flags["start"], most=flags["most"], confirm_s=flags["confirm"],
            width=flags["width"], tell=tell, services=services, token=flags["token"].encode(),
            agents=tuple(parse_agent(text) for text in flags["agents"]),
        )  # fmt: skip
        confirmed = confirmed and found.confirmed
        if flags["out"] is not None:
            several = flags["searches"] > 1
            write_knee(found, flags["out"] / f"{number:03d}" if several else flags["out"])
        if flags["as_json"]:
            import msgspec

            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        else:
            show_knee(found)
    sys.exit(0 if confirmed else 5)


@loadtest.command()
@click.option("--listen", default="127.0.0.1:8089", show_default=True, help="HOST:PORT.")
@click.option("--token", envvar="INTERLOCK_AGENT_TOKEN", required=True,
              help="Secret that controllers must know, rather by the environment.")  # fmt: skip
@click.option("--i-own-this-target", "owned", is_flag=True,
              help="Needed for any target that is not this machine.")  # fmt: skip
@click.option("--sessions", type=click.IntRange(1), help="End after so many controllers.")
def agent(listen: str, token: str, owned: bool, sessions: int | None) -> None:
    """Send a share of other machines' schedules: see run --agent."""
    import socket

    from loadtest.agents import parse_agent, serve_agent
    from loadtest.agentwire import LEAST_TOKEN

    if len(token) < LEAST_TOKEN:
        raise click.UsageError(f"the token needs at least {LEAST_TOKEN} characters")
    try:
        listener = socket.create_server(parse_agent(listen))
    except OSError as error:
        raise click.UsageError(f"cannot listen on {listen}: {error.strerror}") from None
    with listener:
        host, port, *_ = listener.getsockname()
        click.echo(f"listening on {host}:{port}")
        serve_agent(listener, token.encode(), owned=owned, sessions=sessions, tell=click.echo)


@loadtest.command()
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Per measurement.")
@click.option("--home", help="Where the calibration is kept.")
@_JSON
def calibrate(seconds: float, home: str | None, as_json: bool) -> None:
    """Measure this generator's own ceiling against a built-in null server."""
    import msgspec

    from loadtest import calibrate as calibration

    if not as_json:
        click.echo(f"three runs of {seconds:g} s against the null server ...")
    found = calibration.calibrate(seconds)
    path = find_home(home) / "loadtest" / "calibration.json"
    calibration.save(found, path)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    click.echo(
        f"ceiling             {found.ceiling:,.0f} requests/s per process "
        "(closed loop, keep-alive, 1 KB bodies)\n"
        f"open loop at 20k/s  {found.open_rate:,.0f} requests/s completed\n"
        f"send lag at 5k/s    p50 {found.lag_p50_us:.0f} us, p99 {found.lag_p99_us:.0f} us\n"
        f"latency floor       p50 {found.floor_p50_us:.0f} us\n"
        f"kept in             {path}"
    )
