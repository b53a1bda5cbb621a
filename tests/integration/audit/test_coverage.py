"""A drain ends only when the ledger covers every segment."""

from __future__ import annotations

from serving.audit.coverage import coverage, wait_drained
from serving.audit.link import connect_once
from tests.spool import drain


async def look(source, url):
    return await connect_once(url, "test", lambda c: coverage(c, source.root, "n1"))


async def test_records_that_only_the_node_has_are_counted(source, settings, database_url):
    writer = source.writer()
    source.append(writer, 30)
    found = await look(source, database_url)
    assert (found.frames, found.uncovered, found.drained) == (30, 1, False)
    await drain(settings)
    found = await look(source, database_url)
    assert (found.frames, found.drained) == (0, False)
    assert found.writing >= 1  # the writer lives: more may come
    source.append(writer, 5)
    writer.close()
    assert (await look(source, database_url)).frames == 5
    await drain(settings)
    found = await look(source, database_url)
    assert found.drained


async def test_wait_ends_with_the_drain_or_with_the_time(source, settings, database_url):
    writer = source.writer()
    source.append(writer, 3)
    writer.close()
    seen = []
    late = await wait_drained(lambda: look(source, database_url), 0.0, seen.append)
    assert not late.drained

    async def ship_then_look():
        await drain(settings)
        return await look(source, database_url)

    assert (await wait_drained(ship_then_look, 10.0, seen.append)).drained
    assert len(seen) == 2
