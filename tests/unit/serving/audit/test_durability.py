"""Answers that wait for the disk or for the database."""

import asyncio

import pytest

from serving.audit.ack import Acks
from serving.audit.durability import MOST_SAMPLES, GroupSync, ShippedWait, SyncFailed
from serving.audit.segment import SegmentWriter


@pytest.fixture
def writer(tmp_path):
    spool = SegmentWriter(tmp_path, "n1", 0, segment_bytes=64 * 1024)
    yield spool
    spool.close()


async def test_strict_answer_waits_for_a_sync_that_covers_it(writer):
    sync = GroupSync(writer, asyncio.get_running_loop())
    waiters = [sync.wait(writer.append(b"x" * 100)) for _ in range(50)]
    assert not waiters[-1].done()
    await asyncio.wait_for(asyncio.gather(*waiters), 10)
    assert sync.covered >= 50
    assert sync.wait(50).done()
    sync.close()


async def test_answer_appended_during_a_sync_gets_one_of_its_own(writer, monkeypatch):
    loop = asyncio.get_running_loop()
    real, synced = writer.sync, []

    def sync_and_note():
        synced.append(real())
        return synced[-1]

    monkeypatch.setattr(writer, "sync", sync_and_note)
    sync = GroupSync(writer, loop)
    await asyncio.wait_for(sync.wait(writer.append(b"one")), 10)
    await asyncio.wait_for(sync.wait(writer.append(b"two")), 10)
    assert synced == [1, 2]
    sync.close()


async def test_disk_that_refuses_fails_the_waiting_answers(writer, monkeypatch):
    def refuse():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer, "sync", refuse)
    sync = GroupSync(writer, asyncio.get_running_loop())
    with pytest.raises(SyncFailed, match="Input/output"):
        await asyncio.wait_for(sync.wait(writer.append(b"one")), 10)
    assert sync.failures == 1
    sync.close()


async def test_waiter_that_gave_up_does_not_disturb_the_others(writer):
    sync = GroupSync(writer, asyncio.get_running_loop())
    gone, stays = sync.wait(writer.append(b"one")), sync.wait(writer.append(b"two"))
    gone.cancel()
    await asyncio.wait_for(stays, 10)
    sync.close()


async def test_flush_forces_the_file_without_anybody_waiting(writer):
    sync = GroupSync(writer, asyncio.get_running_loop(), flush_ms=1)
    writer.append(b"one")
    async with asyncio.timeout(10):
        while sync.covered < 1:
            await asyncio.sleep(0.001)
    sync.close()


async def test_shipped_answer_waits_for_the_shippers_word(writer, tmp_path):
    shipped = ShippedWait(tmp_path / "n1", writer, asyncio.get_running_loop())
    acks = Acks(tmp_path / "n1")
    acks.follow({(writer.boot, 0)})
    first, second = shipped.wait(writer.append(b"one")), shipped.wait(writer.append(b"two"))
    assert acks.wanted()
    acks.publish(writer.boot, 0, 1)
    await asyncio.wait_for(first, 10)
    assert not second.done()
    assert acks.wanted()
    acks.publish(writer.boot, 0, 2)
    await asyncio.wait_for(second, 10)
    assert not acks.wanted()
    assert shipped.wait(2).done()
    shipped.close()
    acks.close()


async def test_exposure_over_a_long_outage_needs_no_more_memory(writer, tmp_path):
    now = [0.0]
    shipped = ShippedWait(
        tmp_path / "n1", writer, asyncio.get_running_loop(), monotonic=lambda: now[0]
    )
    acks = Acks(tmp_path / "n1")
    ticks = 20 * MOST_SAMPLES
    for tick in range(ticks):
        now[0] = float(tick)
        writer.append(b"one")
        count, age_ms = shipped.exposed()
        assert (count, age_ms) == (tick + 1, tick * 1000.0)
        assert len(shipped._samples) <= MOST_SAMPLES
    for seq in range(1, ticks, 97):
        acks.publish(writer.boot, 0, seq)
        count, age_ms = shipped.exposed()
        assert count == ticks - seq
        true_ms = (ticks - 1 - seq) * 1000.0  # of the oldest record that is left
        assert true_ms - ticks * 2000 / MOST_SAMPLES <= age_ms <= true_ms
    shipped.close()
    acks.close()


async def test_exposure_counts_records_and_the_age_of_the_oldest(writer, tmp_path):
    now = [100.0]
    shipped = ShippedWait(
        tmp_path / "n1", writer, asyncio.get_running_loop(), monotonic=lambda: now[0]
    )
    acks = Acks(tmp_path / "n1")
    assert shipped.exposed() == (0, 0.0)
    writer.append(b"one")
    shipped.exposed()
    now[0] += 0.25
    writer.append(b"two")
    assert shipped.exposed() == (2, 250.0)
    acks.publish(writer.boot, 0, 1)
    now[0] += 0.5
    assert shipped.exposed() == (1, 500.0)
    acks.publish(writer.boot, 0, 2)
    assert shipped.exposed() == (0, 0.0)
    shipped.close()
    acks.close()
