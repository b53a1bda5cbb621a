"""R3: the network to PostgreSQL goes silent at every step, also between COMMIT and its answer."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import msgspec
import pytest

from serving.audit.shipper import Shipper
from tests.spool import drain, fetch, stored_ids

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Between the shipper and PostgreSQL; one session is swallowed as told, all others pass.

    ``arm(step=k)`` lets k writes of the shipper's next session through, then forwards nothing
    either way. ``arm(word=b"COMMIT", deliver=...)`` does so from the first write of any session
    that contains the word, which itself reaches the server or not.
    """

    def __init__(self, server_socket, folder):
        self._server_socket = server_socket
        self.folder = folder
        self._armed = None
        self.swallowed = asyncio.Event()
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._accept, self.folder / SOCKET)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, *, step=None, word=None, deliver=True):
        self.swallowed.clear()
        self._armed = (step, word, deliver)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        to_server = None
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._server_socket)
            silent = asyncio.Event()
            await asyncio.gather(
                self._upward(reader, to_server, silent), self._downward(from_server, writer, silent)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, to_server):
                if each is not None:
                    each.close()
                    with contextlib.suppress(OSError):
                        await each.wait_closed()

    async def _upward(self, reader, to_server, silent):
        writes, ours, early = 0, False, None
        while data := await reader.read(1 << 16):
            writes += 1
            if writes == 1 and b"interlock shipper n1\0" in data:
                ours = True
                early = self._armed  # what is armed while a session lives is not for its goodbye
            step, word, deliver = self._armed or (None, None, True)
            hit = (ours and step is not None and self._armed is early and writes > step) or (
                word is not None and word in data
            )
            if hit and not silent.is_set():
                self._armed = None
                silent.set()
                self.swallowed.set()
                if word is not None and deliver:
                    to_server.write(data)
            if not silent.is_set():
                to_server.write(data)
        to_server.close()

    async def _downward(self, from_server, writer, silent):
        while data := await from_server.read(1 << 16):
            if not silent.is_set():
                writer.write(data)
        if not silent.is_set():
            writer.close()


@pytest.fixture
async def proxy(database_url, open_folder):
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    async with Proxy(f"{folder}/{SOCKET}", open_folder) as proxy:
        query = urlencode({"host": str(open_folder), "port": "5432"})
        proxy.url = urlunsplit(parts._replace(query=query))
        yield proxy


async def until(ready, limit_s=20.0):
    async with asyncio.timeout(limit_s):
        while not ready():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def shipping(settings, proxy):
    """A shipper whose chores are too rare to meet the armed proxy."""
    settings = msgspec.structs.replace(
        settings, database_url=proxy.url, deadline_s=0.2, chain_every_s=1e6, checkpoint_every_s=1e6
    )
    shipper = Shipper(settings)
    running = asyncio.create_task(shipper.run())
    yield shipper
    shipper.stop()
    await running


async def check(source, settings, database_url):
    await drain(settings)
    stored = await stored_ids(database_url)
    assert len(stored) == len(set(stored)), "a record was stored twice"
    assert set(stored) == set(source.acknowledged)


@pytest.mark.parametrize("deliver", [True, False])
async def test_commit_whose_answer_never_comes_is_resolved_by_the_ledger(
    source, settings, database_url, proxy, deliver
):
    writer = source.writer()
    async with shipping(settings, proxy) as shipper:
        source.append(writer, 20)
        await until(lambda: shipper.status.shipped == 20)
        for number in range(3):
            proxy.arm(word=b"COMMIT", deliver=deliver)
            source.append(writer, 20)
            await asyncio.wait_for(proxy.swallowed.wait(), 10)
            failures = shipper.status.failures
            await until(lambda start=failures: shipper.status.failures > start)
            last = writer.last_seq
            ack = (source.root / "n1").glob("*.ack")
            assert list(ack) == []
            await until_stored(database_url, last)
            assert shipper.status.failures >= number + 1
    writer.close()
    await check(source, settings, database_url)


async def until_stored(url, count):
    async with asyncio.timeout(20):
        while (await fetch(url, "SELECT count(*) FROM audit_records"))[0][0] < count:
            await asyncio.sleep(0.01)


async def test_silence_after_every_write_of_the_session_loses_and_doubles_nothing(
    source, settings, database_url, proxy
):
    writer = source.writer()
    async with shipping(settings, proxy) as shipper:
        source.append(writer, 5)
        await until(lambda: shipper.status.shipped == 5)
        swallowed = 0
        for step in range(30):
            shipper._link.discard()  # a new session, so that its steps are counted from the start
            proxy.arm(step=step)
            source.append(writer, 5)
            await until_stored(database_url, writer.last_seq)
            swallowed += proxy.swallowed.is_set()
            if not proxy.swallowed.is_set():
                break  # the whole session fits into so many writes
        assert swallowed >= 10
        assert shipper.status.failures >= swallowed
    writer.close()
    await check(source, settings, database_url)
