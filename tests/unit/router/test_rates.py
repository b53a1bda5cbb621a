"""Rates of keys: leases of one worker, and buckets that nodes share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.errors import QuotaError
from router.keys import Key, key_row
from router.ledger import Claim, LedgerAwayError, RedisLedger
from router.rates import AWAY_S, IDLE_S, Rates

TEXT = "ilk_" + "k" * 40


def limited(rate: float, burst: int | None = None, name: str = "k") -> Key:
    return Key(msgspec.structs.replace(key_row(name, TEXT, ["a"]), rate_per_s=rate, burst=burst))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(rates: Rates, key: Key, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            rates.spend(key)
        except QuotaError:
            continue
        count += 1
    return count


def test_without_redis_a_worker_has_its_share_of_burst_and_rate() -> None:
    clock = Clock()
    rates, key = Rates(2, clock=clock), limited(10, 6)
    assert admitted(rates, key, 20) == 3
    clock.now += 1.0
    assert admitted(rates, key, 20) == 3
    clock.now += 0.2
    assert admitted(rates, key, 20) == 1


def test_key_over_its_rate_is_told_when_to_come_again() -> None:
    rates, key = Rates(1, clock=Clock()), limited(0.5, 1)
    rates.spend(key)
    with pytest.raises(QuotaError) as caught:
        rates.spend(key)
    assert caught.value.retry_after_s == 2


def test_new_limits_of_a_key_count_at_once() -> None:
    rates = Rates(1, clock=Clock())
    assert admitted(rates, limited(1, 1), 5) == 1
    assert admitted(rates, limited(1, 4), 5) == 4


@asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[tuple[RedisLedger, Clock]]:
    clock = Clock()
    shared = RedisLedger(redis_url, now=clock)
    yield shared, clock
    await shared.close()


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[tuple[RedisLedger, Clock]]:
    async with opened(redis_url) as pair:
        yield pair


async def test_bucket_lends_half_at_most_and_refills_at_its_rate(
    ledger: tuple[RedisLedger, Clock],
) -> None:
    shared, clock = ledger
    claim = Claim("half", 10.0, 8.0, 0.0, 100.0)
    assert await shared.settle([claim, claim, claim, claim, claim]) == [4, 2, 1, 1, 0]
    clock.now += 0.2
    assert await shared.settle([claim]) == [1]
    clock.now += 60
    assert await shared.settle([claim]) == [4]
    back = msgspec.structs.replace(claim, back=4.0, want=0.0)
    assert await shared.settle([back, claim]) == [0, 4]


async def test_debts_of_a_first_moment_are_paid_before_anybody_gets_more(
    ledger: tuple[RedisLedger, Clock],
) -> None:
    shared, clock = ledger
    debt = Claim("debt", 10.0, 5.0, -15.0, 5.0)
    assert await shared.settle([debt]) == [0]
    clock.now += 1.0
    plain = msgspec.structs.replace(debt, back=0.0)
    assert await shared.settle([plain]) == [0]
    clock.now += 0.1
    assert await shared.settle([plain]) == [1]


@settings(
    max_examples=25,
    deadline=None,
    # every example has a bucket of its own name in the one server
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rate=st.sampled_from([2.0, 25.0, 400.0]),
    burst=st.integers(1, 200),
    loads=st.lists(
        st.tuples(st.sampled_from([0.01, 0.25, 1.0]), st.lists(st.integers(0, 150), min_size=3)),
        min_size=4,
        max_size=25,
    ),
    name=st.uuids(),
)
async def test_workers_of_all_nodes_together_keep_to_the_rate(
    redis_url: str, rate: float, burst: int, loads: list[tuple[float, list[int]]], name: object
) -> None:
    """Never more than the rate, one burst, and what each worker may spend before it has asked."""
    key = limited(rate, burst, str(name))
    async with opened(redis_url) as (shared, clock):
        workers = [Rates(2, shared, clock=clock) for _ in range(3)]
        start, total = clock.now, 0
        for pause, tries in loads:
            for worker, count in zip(workers, tries, strict=False):
                total += admitted(worker, key, count)
                await worker.settle()
            clock.now += pause
    first = len(workers) * max(burst / 2, 1.0)
    assert total <= rate * (clock.now - start) + burst + first + len(workers)


async def test_steady_load_under_the_rate_is_never_refused(
    ledger: tuple[RedisLedger, Clock],
) -> None:
    shared, clock = ledger
    key = limited(400, 400, "steady")
    workers = [Rates(2, shared, clock=clock) for _ in range(4)]
    for _ in range(40):  # 4 workers x 20 in a quarter of a second: 320 a second
        assert [admitted(worker, key, 20) for worker in workers] == [20] * 4
        for worker in workers:
            await worker.settle()
        clock.now += 0.25


async def test_idle_worker_gives_its_lease_to_a_busy_one(
    ledger: tuple[RedisLedger, Clock],
) -> None:
    shared, clock = ledger
    key = limited(0.001, 40, "idle")
    first, second = Rates(1, shared, clock=clock), Rates(1, shared, clock=clock)
    assert admitted(first, key, 10) == 10
    await first.settle()
    await first.settle()
    assert admitted(second, key, 100) == 40
    await second.settle()
    for _ in range(8):
        assert admitted(second, key, 100) == 0
        await second.settle()


async def test_redis_away_falls_back_to_shares() -> None:
    clock = Clock()
    away = Rates(2, RedisLedger("redis://127.0.0.1:1/0"), clock=clock)
    key = limited(10, 10)
    assert admitted(away, key, 20) == 5
    with pytest.raises(LedgerAwayError):
        await away.settle()
    clock.now += 1.0
    assert admitted(away, key, 20) == 5


def test_silent_redis_is_not_believed_in_for_long() -> None:
    clock = Clock()
    rates = Rates(1, RedisLedger("redis://127.0.0.1:1/0"), clock=clock)
    key = limited(1, 1)
    assert admitted(rates, key, 3) == 1
    clock.now += AWAY_S + 1
    assert admitted(rates, key, 3) == 1
    assert IDLE_S > AWAY_S
