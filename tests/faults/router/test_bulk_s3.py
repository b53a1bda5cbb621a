"""Files and parts in S3: the same bytes as on disk, and a store that stalls or refuses."""

from __future__ import annotations

import socket
import threading
from collections import Counter

import pytest

from router.bulk.errors import OutputError
from router.bulk.objects import S3Inputs, S3Output
from router.bulk.places import open_inputs, open_output
from router.bulk.verify import check_parts, status
from router.bulk.watch import pin
from serving.store import StoreError
from tests import bulk_world, router_world
from tests.bulk_world import parts, run, write
from tests.contract.test_artifact_store import call, credentials, s3_server

__all__ = ["credentials", "s3_server"]
BUSY = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Cutting:
    """A proxy before a store: passes connections on, lets them hang, or answers 503.

    Attributes:
        mode: ``pass``, ``stall`` or ``busy``, for connections made from now on.
        met: connections by mode.
    """

    def __init__(self, url: str) -> None:
        self._target = (url.split("/")[2].split(":", maxsplit=1)[0], int(url.rpartition(":")[2]))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.mode = "pass"
        self.met: Counter[str] = Counter()
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.met[self.mode] += 1
            self._held.append(client)
            if self.mode == "busy":
                client.recv(1 << 16)
                client.sendall(BUSY)
                client.close()
            elif self.mode == "pass":
                store = socket.create_connection(self._target)
                self._held.append(store)
                for source, sink in ((client, store), (store, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        """End everything."""
        for each in (self._server, *self._held):
            each.close()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    router_world.publish(folder)
    return pin(router_world.settings_for(folder), "credit")[0]


@pytest.fixture
def proxy(s3_server, credentials, monkeypatch):
    found = Cutting(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
    yield found
    found.close()


@pytest.fixture
def bucket(s3_server, credentials, tmp_path):
    name = f"bulk{abs(hash(str(tmp_path)))}"
    call(s3_server, "create_bucket", Bucket=name)
    for number, suffix in enumerate(("parquet", "ndjson", "csv")):
        path = write(tmp_path / "in" / f"day={number}" / f"a.{suffix}", bulk_world.rows(70))
        key = f"loans/day={number}/a.{suffix}"
        call(s3_server, "put_object", Bucket=name, Key=key, Body=path.read_bytes())
    call(s3_server, "put_object", Bucket=name, Key="loans/_SUCCESS", Body=b"")
    return name


@pytest.fixture
def whole(endpoint, bucket, tmp_path):
    done = run(endpoint, tmp_path / "in", tmp_path / "whole")
    return done.job, parts(tmp_path / "whole")


def stored(server, bucket):
    listing = call(server, "list_objects_v2", Bucket=bucket, Prefix="out/part-")
    found = {}
    for each in listing.get("Contents", ()):
        found[each["Key"].removeprefix("out/")] = each["Size"]
    return found


def test_objects_give_the_bytes_of_files_and_verify(endpoint, proxy, bucket, whole, tmp_path):
    inputs = open_inputs(f"s3://{bucket}/loans", cache=tmp_path / "cache")
    output = open_output(f"s3://{bucket}/out", cache=tmp_path / "cache")
    assert inputs.names == ("day=0/a.parquet", "day=1/a.ndjson", "day=2/a.csv")
    assert run(endpoint, inputs, output, job=whole[0]).complete
    assert {name: output.fetch(name).read_bytes() for name in whole[1]} == whole[1]
    assert check_parts(output) == []
    done = run(endpoint, inputs, open_output(f"s3://{bucket}/out", cache=tmp_path / "cache"),
               job=whole[0], resume=True)  # fmt: skip
    assert (done.progress.rows, done.progress.skipped) == (0, 210)
    assert not any((tmp_path / "cache").rglob("*.ndjson"))


@pytest.mark.parametrize("mode", ["stall", "busy"])
def test_store_that_stops_answering_ends_the_job_whole_and_resumable(
    endpoint, proxy, bucket, whole, tmp_path, mode, s3_server
):
    cache = tmp_path / "cache"
    inputs = S3Inputs(bucket, "loans", cache, deadline_s=1.0)
    output = S3Output(bucket, "out", cache, deadline_s=1.0)
    looks = iter(range(100))

    def check():
        if next(looks) == 2:
            proxy.mode = mode

    with pytest.raises((OutputError, StoreError)) as caught:
        run(endpoint, inputs, output, job=whole[0], check=check)
    assert "s3://" in caught.value.at
    assert proxy.met[mode] > 0
    proxy.mode = "pass"
    sizes = stored(s3_server, bucket)
    assert 0 < len(sizes) < len(whole[1])
    assert all(size == len(whole[1][name]) for name, size in sizes.items())
    again = S3Output(bucket, "out", cache, deadline_s=20)
    assert not status(again).complete
    assert run(endpoint, inputs, again, job=whole[0], resume=True).complete
    assert {name: again.fetch(name).read_bytes() for name in whole[1]} == whole[1]


def test_two_machines_that_begin_at_once_do_the_same_job(endpoint, proxy, bucket, tmp_path):
    inputs = S3Inputs(bucket, "loans", tmp_path / "cache")
    ids = set()
    for shard in (0, 1):
        output = S3Output(bucket, "out", tmp_path / f"cache{shard}")
        done = run(endpoint, inputs, output, shards=2, shard=shard)
        ids.add(done.job.id)
    assert len(ids) == 1
    assert done.complete
