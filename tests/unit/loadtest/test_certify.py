import json
from pathlib import Path

import numpy as np
import pytest

from loadtest.certify import binomial_cdf, certify, most_over, samples_needed

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "loadtest" / "loadgen.json").read_text()
)


@pytest.mark.parametrize(("percentile", "over", "needed"), REFERENCE["needed"])
def test_samples_needed_equal_loadgen(percentile, over, needed):
    assert samples_needed(percentile, over) == needed


@pytest.mark.parametrize(("samples", "percentile", "rank"), REFERENCE["rank"])
def test_certified_value_has_the_rank_that_loadgen_takes(samples, percentile, rank):
    assert most_over(samples, percentile) == rank
    ordered = np.arange(samples, dtype=float)
    assert certify(ordered, percentile).value == samples - rank


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.99, 0.999])
def test_one_sample_fewer_than_needed_certifies_nothing(percentile):
    needed = samples_needed(percentile)
    assert certify(np.arange(needed, dtype=float), percentile).value is not None
    bound = certify(np.arange(needed - 1, dtype=float), percentile)
    assert (bound.value, bound.over, bound.needed) == (None, 0, needed)


@pytest.mark.parametrize("samples", [0, 1])
def test_hardly_any_samples_are_not_an_error(samples):
    assert certify(np.zeros(samples), 0.5).value is None


def test_binomial_tail_equals_the_sum_it_stands_for():
    from math import comb

    for n, share in ((1, 0.5), (12, 0.1), (60, 0.93)):
        for k in range(n + 1):
            exact = sum(comb(n, j) * share**j * (1 - share) ** (n - j) for j in range(k + 1))
            assert binomial_cdf(k, n, share) == pytest.approx(exact, rel=1e-9)


def test_binomial_tail_outside_its_range_is_certain():
    assert binomial_cdf(-1, 5, 0.3) == 0.0
    assert binomial_cdf(5, 5, 0.3) == 1.0


def test_bound_lies_above_the_plain_percentile_for_millions_of_samples():
    assert 0 < most_over(3_000_000, 0.5) < 1_500_000
    assert 0 < most_over(3_000_000, 0.9999) < 300
