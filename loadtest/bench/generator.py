"""``interlock bench generator``: what the load generator itself can do here."""

from __future__ import annotations

import click
import msgspec

from loadtest.bench.lines import keep
from loadtest.bench.models import Line, show

LAG_LIMIT = "<= 100"


@click.command()
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=3.0, show_default=True,
              help="Per measurement.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
@click.pass_context
def generator(ctx: click.Context, *, seconds: float, as_json: bool) -> None:
    """One generator process on the last core against a server that does nothing, on the first."""
    from loadtest.calibrate import LAG_RATE, calibrate

    if not as_json:
        click.echo(f"three runs of {seconds:g} s against the null server ...", err=True)
    found = calibrate(seconds)
    lag = f"send lag, open loop of {LAG_RATE:,.0f} requests/s"
    lines = [
        Line("rate", "ceiling, closed loop, 1 KB bodies", found.ceiling, "requests/s"),
        Line("rate", "open loop, 20,000 requests/s due", found.open_rate, "requests/s"),
        Line(lag, "p50", found.lag_p50_us, "us"),
        Line(lag, "p99", found.lag_p99_us, "us", LAG_LIMIT),
        Line(lag, "p50 of the null server from schedule", found.floor_p50_us, "us"),
    ]
    keep(ctx, lines)
    if as_json:
        click.echo(msgspec.json.encode(lines).decode())
    else:
        show(lines[:2])
        show(lines[2:])
