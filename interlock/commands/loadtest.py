"""``interlock loadtest``: measure a running endpoint."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.plan import Load, Plan


def _home(home: str | None) -> Path:
    return Path(home or os.environ.get("INTERLOCK_HOME") or Path.home() / ".interlock")


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read ``30s``, ``500ms``, ``2m``, ``1h`` or a plain number of seconds."""
    if value is None:
        return None
    for unit, factor in (("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)):
        if value.endswith(unit):
            try:
                return float(value[: len(value) - len(unit)]) * factor
            except ValueError:
                break
    raise click.BadParameter(f"expected a time such as 30s or 2m, got {value!r}")


class _Refusing(click.Group):
    """A group in which what cannot be used ends with its message and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        from compiler.errors import AppError

        try:
            return super().invoke(ctx)
        except AppError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            ctx.exit(130)


@click.group(cls=_Refusing)
def loadtest() -> None:
    r"""Measure a running endpoint: open loop, corrected latency, certified percentiles.

    \b
    Exit status: 0 pass, 99 a threshold failed, 3 the run is not valid,
    4 regression, 5 inconclusive, 2 usage (no load was sent), 130 interrupted.
    """


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Flags that say what is sent where, shared by every command that sends."""
    for option in reversed(
        (
            click.option("--url", "urls", multiple=True, default=("http://127.0.0.1:8080",),
                         show_default=True, help="Data plane; repeat for several nodes."),
            click.option("--endpoint", "endpoints", multiple=True,
                         help="Endpoint, as NAME or NAME=WEIGHT; repeat for a mix."),
            click.option("--path", help="Path to post to instead of /v1/predict/ENDPOINT."),
            click.option("--key", envvar="INTERLOCK_KEY", help="Routing key (ilk_...)."),
            click.option("--header", "headers", multiple=True, help="'Name: value'; repeatable."),
            click.option("--payload", type=click.Path(dir_okay=False, path_type=Path),
                         help="Request bodies: NDJSON, one per line."),
            click.option("--body", help="One JSON body for every request."),
            click.option("--processes", type=int, default=1, show_default=True),
            click.option("--connections", type=int, default=32, show_default=True,
                         help="Opened before the run; more are opened on demand."),
            click.option("--max-inflight", type=int, default=2048, show_default=True),
            click.option("--cpus", default="", help="Cores of the generator, such as 1 or 2,3."),
            click.option("--timeout", default="10s", callback=_seconds, show_default=True),
            click.option("--no-keepalive", is_flag=True, help="One connection per request."),
            click.option("--expect", multiple=True, type=int, default=(200,), show_default=True,
                         help="Status that counts as good; repeatable."),
            click.option("--check", "checks", multiple=True,
                         help="Text that every answer must contain; repeatable."),
            click.option("--max-requests", type=int, default=5_000_000, show_default=True),
            click.option("--max-seconds", default="1h", callback=_seconds, show_default=True),
            click.option("--i-own-this-target", "owned", is_flag=True,
                         help="Needed for any target that is not this machine."),
            click.option("--home", help="Where calibrations are kept."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def build_plan(load: Load, thresholds: tuple[str, ...], flags: dict[str, Any]) -> Plan:
    """The plan that the flags of :func:`target_options` describe."""
    from loadtest.errors import LoadTestError
    from loadtest.payloads import read_bodies
    from loadtest.plan import Limits, Plan, Sender, Template, parse_target
    from loadtest.requests import build_request, parse_header

    targets = tuple(parse_target(url) for url in flags["urls"])
    headers = tuple(parse_header(text) for text in flags["headers"])
    if flags["key"]:
        headers = (("Authorization", f"Bearer {flags['key']}"), *headers)
    try:
        cpus = tuple(int(cpu) for cpu in flags["cpus"].split(",") if cpu)
    except ValueError:
        raise LoadTestError(f"expected cores such as 1 or 2,3, got {flags['cpus']!r}",
                            at="--cpus") from None  # fmt: skip
    bodies = read_bodies(flags["payload"], flags["body"])
    templates, weights = [], []
    for text in flags["endpoints"] or ("",):
        name, _, weight = text.partition("=")
        path = flags["path"] or (f"/v1/predict/{name}" if name else "/v1/predict")
        for body in bodies:
            data = build_request(
                targets[0], path, body, headers=headers, keep_alive=not flags["no_keepalive"]
            )
            checks = tuple(check.encode() for check in flags["checks"])
            templates.append(Template(data, name, checks))
            weights.append(_weight(weight, text) / len(bodies))
    return Plan(
        targets=targets,
        templates=tuple(templates),
        load=load,
        weights=tuple(weights),
        limits=Limits(
            flags["max_requests"], flags["max_seconds"], flags["max_inflight"], flags["timeout"]
        ),
        sender=Sender(
            processes=flags["processes"],
            connections=flags["connections"],
            cpus=cpus,
            keep_alive=not flags["no_keepalive"],
        ),
        statuses=tuple(flags["expect"]),
        thresholds=thresholds,
        owned=flags["owned"],
    )


def _weight(text: str, whole: str) -> float:
    from loadtest.errors import LoadTestError

    try:
        weight = float(text or 1)
    except ValueError:
        weight = -1.0
    if weight <= 0:
        raise LoadTestError(f"expected NAME=WEIGHT, got {whole!r}", at="--endpoint")
    return weight


@loadtest.command()
@target_options
@click.option("--rate", type=float, default=100.0, show_default=True, help="Requests per second.")
@click.option("--duration", default="10s", callback=_seconds, show_default=True)
@click.option("--warmup", default="2s", callback=_seconds, show_default=True)
@click.option("--arrival", type=click.Choice(["poisson", "constant"]), default="poisson",
              show_default=True)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--closed", is_flag=True, help="Closed loop; labelled so in every output.")
@click.option("--concurrency", type=int, default=8, show_default=True, help="Of a closed loop.")
@click.option("--threshold", "thresholds", multiple=True,
              help="Such as 'p99<25ms', 'err<0.1%', 'goodput>=99%'; repeatable.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for summary.json and the raw records.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the report.")
def run(  # noqa: PLR0917 - click passes every flag by name
    rate: float, duration: float, warmup: float, arrival: Any, seed: int, closed: bool,
    concurrency: int, thresholds: tuple[str, ...], out: Path | None, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Hold a rate and report what it did to latency."""
    from loadtest.calibrate import load_ceiling
    from loadtest.plan import Load
    from loadtest.run import run as run_plan
    from loadtest.schedule import constant
    from loadtest.show import show
    from loadtest.store import write_run
    from loadtest.summary import encode

    load = Load(
        constant(rate, duration), arrival, warmup, seed, closed=concurrency if closed else 0
    )
    plan = build_plan(load, thresholds, flags)
    ceiling = load_ceiling(_home(flags["home"]) / "loadtest" / "calibration.json", plan)
    outcome = run_plan(plan, ceiling=ceiling)
    if out is not None:
        write_run(outcome, out)
    if as_json:
        sys.stdout.buffer.write(encode(outcome.summary))
    else:
        show(outcome.summary)
    sys.exit(outcome.summary.exit_status)


@loadtest.command()
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Per measurement.")
@click.option("--home", help="Where the calibration is kept.")
@click.option("--json", "as_json", is_flag=True)
def calibrate(seconds: float, home: str | None, as_json: bool) -> None:
    """Measure this generator's own ceiling against a built-in null server."""
    import msgspec

    from loadtest import calibrate as calibration

    if not as_json:
        click.echo(f"three runs of {seconds:g} s against the null server ...")
    found = calibration.calibrate(seconds)
    path = _home(home) / "loadtest" / "calibration.json"
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
