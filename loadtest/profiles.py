"""From the words of the command line to a load."""

from __future__ import annotations

from typing import Any

from loadtest import schedule
from loadtest.errors import LoadTestError
from loadtest.payloads import read_records
from loadtest.plan import Load

SOAK_S = 600.0


def build_load(flags: dict[str, Any]) -> Load:
    """The load that profile, rate, trace and replay describe.

    Raises:
        LoadTestError: flags that contradict each other.
    """
    profile, rate, duration = flags["profile"], flags["rate"], flags["duration"]
    trace: tuple[float, ...] = ()
    if flags["trace"] is not None:
        trace = schedule.read_trace(flags["trace"])
    elif flags["replay"] is not None:
        times = [received for _, received in read_records(flags["replay"])]
        trace = tuple((received - times[0]) / 1e9 for received in times)
        if trace[-1] <= 0:
            raise LoadTestError("all records have one time", at="--replay")
    closed = flags["concurrency"] if flags["closed"] else 0
    if closed and (trace or profile != "constant"):
        raise LoadTestError(
            "a closed loop has no schedule", at="--closed", hint="leave out --profile and --trace"
        )
    if trace:
        return Load(schedule.constant(1.0, 1.0), warmup_s=0.0, trace=trace, seed=flags["seed"])
    return Load(
        knots=_knots(profile, rate, duration, flags),
        arrival=flags["arrival"],
        warmup_s=flags["warmup"],
        seed=flags["seed"],
        closed=closed,
        profile=profile,
    )


def _knots(profile: str, rate: float, duration: float, flags: dict[str, Any]) -> schedule.Knots:
    to = flags["to"]
    if profile in {"ramp", "step", "spike"} and to is None:
        raise LoadTestError(f"expected the second rate of a {profile}, got none", at="--to")
    if profile == "ramp":
        return schedule.ramp(rate, to, duration)
    if profile == "step":
        return schedule.step(rate, to, flags["steps"], duration)
    if profile == "spike":
        return schedule.spike(rate, to, duration)
    if profile == "onoff":
        if not (flags["on_s"] > 0 and flags["off_s"] >= 0):
            raise LoadTestError("expected a burst longer than 0 s", at="--on")
        return schedule.on_off(rate, flags["on_s"], flags["off_s"], duration)
    if profile == "soak" and duration < SOAK_S:
        raise LoadTestError(
            f"a soak lasts at least {SOAK_S:g} s, got {duration:g}", at="--duration"
        )
    return schedule.constant(rate, duration)
