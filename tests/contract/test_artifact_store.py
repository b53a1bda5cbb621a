"""What every artifact store promises, kept by the local folder and by S3 over HTTP."""

import asyncio
import shutil
import socket
import threading

import pytest
from aiobotocore.session import get_session
from moto.server import ThreadedMotoServer

from compiler.package import PackageError
from serving.engine import Engine
from serving.store import ArtifactStore, StoreError
from tests.builders import signed_package

ABSENT = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def call(endpoint, method, **arguments):
    async def work():
        async with get_session().create_client("s3", endpoint_url=endpoint) as client:
            return await getattr(client, method)(**arguments)

    return asyncio.run(work())


@pytest.fixture
def s3(s3_server, credentials, tmp_path):
    bucket = f"b{abs(hash(str(tmp_path)))}"
    call(s3_server, "create_bucket", Bucket=bucket)

    def make(cache="cache", **options):
        return ArtifactStore.open(
            f"s3://{bucket}/team/models",
            cache=tmp_path / cache,
            endpoint_url=s3_server,
            deadline_s=20,
            **options,
        )

    make.bucket = bucket
    make.endpoint = s3_server
    return make


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return ArtifactStore.open(tmp_path / "store")
    return request.getfixturevalue("s3")()


class TestEveryStore:
    def test_published_package_is_fetched_and_loads(self, store, tmp_path):
        package = signed_package(tmp_path)
        assert store.publish(package.folder) == package.digest
        folder = store.fetch(package.digest)
        model = Engine.load(folder, trust=package.trust, expected_digest=package.digest)
        assert model.digest == package.digest

    def test_publishing_twice_is_harmless(self, store, tmp_path):
        package = signed_package(tmp_path)
        assert store.publish(package.folder) == store.publish(package.folder)

    def test_absent_package_is_refused_by_name(self, store):
        with pytest.raises(StoreError, match=ABSENT) as caught:
            store.fetch(ABSENT)
        assert caught.value.code == "store.missing"

    def test_damaged_package_is_never_published(self, store, tmp_path):
        package = signed_package(tmp_path)
        (package.folder / "model.onnx").write_bytes(b"")
        with pytest.raises(PackageError):
            store.publish(package.folder)
        with pytest.raises(StoreError):
            store.fetch(package.digest)

    def test_text_that_is_no_digest_is_refused(self, store):
        with pytest.raises(PackageError):
            store.fetch("sha256:../../etc")

    def test_many_callers_get_the_same_folder(self, store, tmp_path):
        package = signed_package(tmp_path)
        store.publish(package.folder)
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(store.fetch(package.digest)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1


def test_object_changed_in_the_store_is_refused(s3, tmp_path):
    package = signed_package(tmp_path)
    store = s3()
    store.publish(package.folder)
    key = f"team/models/packages/{package.folder.name}/model.onnx"
    data = bytearray((package.folder / "model.onnx").read_bytes())
    data[100] ^= 1
    call(s3.endpoint, "put_object", Bucket=s3.bucket, Key=key, Body=bytes(data))
    with pytest.raises(PackageError, match=r"model\.onnx was changed"):
        store.fetch(package.digest)
    assert not (store.cache / package.folder.name).exists()


def test_larger_object_than_promised_is_refused_before_its_body_is_read(s3, tmp_path):
    package = signed_package(tmp_path)
    store = s3()
    store.publish(package.folder)
    key = f"team/models/packages/{package.folder.name}/golden.npz"
    call(s3.endpoint, "put_object", Bucket=s3.bucket, Key=key, Body=b"x" * 100_000)
    with pytest.raises(StoreError) as caught:
        store.fetch(package.digest)
    assert caught.value.code == "package.size"


def test_cached_package_starts_while_the_store_is_away(s3, tmp_path, credentials):
    package = signed_package(tmp_path)
    s3().publish(package.folder)
    s3().fetch(package.digest)
    away = ArtifactStore.open(
        "s3://nowhere/x", cache=tmp_path / "cache", endpoint_url="http://127.0.0.1:9"
    )
    assert Engine.load(away.fetch(package.digest)).digest == package.digest


def test_unreachable_store_is_an_error_that_names_it(tmp_path, credentials):
    store = ArtifactStore.open(
        "s3://bucket/x", cache=tmp_path / "c", endpoint_url="http://127.0.0.1:9", deadline_s=20
    )
    with pytest.raises(StoreError, match="s3://bucket/x"):
        store.fetch(ABSENT)


def test_silent_store_ends_at_the_deadline(tmp_path, credentials):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = ArtifactStore.open(
            "s3://bucket/x",
            cache=tmp_path / "c",
            endpoint_url=f"http://127.0.0.1:{port}",
            deadline_s=0.3,
        )
        with pytest.raises(StoreError) as caught:
            store.fetch(ABSENT)
    assert caught.value.code == "store.timeout"


def test_cache_drops_the_least_recently_used(s3, tmp_path):
    first = signed_package(tmp_path)
    second = signed_package(tmp_path, estimator="gradient_boosting")
    store = s3()
    store.publish(first.folder)
    store.publish(second.folder)
    sizes = [
        sum(f.stat().st_size for f in package.folder.rglob("*") if f.is_file())
        for package in (first, second)
    ]
    small = s3("small", cache_bytes=max(sizes) + 10)
    small.fetch(first.digest)
    small.fetch(second.digest)
    assert [item.name for item in small.cache.iterdir()] == [second.folder.name]
    shutil.rmtree(small.cache / second.folder.name)
    assert small.fetch(first.digest).is_dir()


def test_package_larger_than_the_cache_is_refused_with_both_figures(s3, tmp_path):
    package = signed_package(tmp_path)
    store = s3("tiny", cache_bytes=100)
    store.publish(package.folder)
    with pytest.raises(StoreError, match="cache takes 100"):
        store.fetch(package.digest)


def test_unknown_kind_of_store_is_refused():
    with pytest.raises(StoreError, match="ftp"):
        ArtifactStore.open("ftp://host/x")
