"""The arithmetic of ``bench serve``: slopes, shares of the knee, peers by name."""

import math
import random
from pathlib import Path

import pytest

from loadtest.bench.overload import FACTORS, Overload, Point
from loadtest.bench.peers.outside import OUTSIDE, read_peer_envs
from loadtest.bench.soak import Soak, slope_of
from loadtest.errors import LoadTestError


def looks(per_minute: float, noise: float, seconds: int = 600) -> list[tuple[float, float]]:
    rng = random.Random(5)
    return [
        (float(second), 80 + per_minute * second / 60 + rng.gauss(0, noise))
        for second in range(seconds)
    ]


@pytest.mark.parametrize("per_minute", [-0.5, 0.0, 0.2, 3.0])
def test_slope_is_found_within_its_interval(per_minute: float) -> None:
    slope, low, high = slope_of(looks(per_minute, 0.3))
    assert low <= per_minute <= high
    assert slope == pytest.approx(per_minute, abs=0.05)
    assert high - low < 0.1


def test_memory_is_flat_unless_growth_is_shown_and_matters() -> None:
    def flat(per_minute: float, noise: float) -> bool:
        found = slope_of(looks(per_minute, noise))
        return Soak(600.0, 1.0, (), found, 1, 0).flat

    assert flat(0.0, 0.3)
    assert flat(0.1, 0.01)  # shown, and 1 MiB in ten minutes
    assert flat(1.0, 500.0)  # lost in the noise
    assert not flat(1.0, 0.3)


def test_too_few_looks_say_nothing() -> None:
    slope, low, high = slope_of(looks(1.0, 0.1, 12))
    assert (math.isnan(slope), low, high) == (True, -math.inf, math.inf)


def test_knee_is_the_best_rate_that_can_be_done() -> None:
    good = {0.8: 80.0, 0.9: 90.0, 1.0: 85.0, 2.0: 88.0, 5.0: 45.0}
    points = tuple(
        Point(factor, factor * 100, good[factor] + shift, 0.0, 0.0, 1.0, 2.0)
        for shift in (-10.0, 0.0, 1.0)
        for factor in FACTORS
    )
    found = Overload(100.0, points)
    assert found.knee == 90.0
    assert found.kept(5.0) == 0.5


def test_environments_of_peers_are_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    found = read_peer_envs(tuple(f"{name}={python}" for name in OUTSIDE))
    assert found == dict.fromkeys(OUTSIDE, python)
    for wrong in ("mlserver", f"other={python}", "mlserver=/nowhere/python", "=", ""):
        with pytest.raises(LoadTestError, match="expected NAME=PYTHON"):
            read_peer_envs((wrong,))
