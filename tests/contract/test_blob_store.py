"""What every store of large files promises, kept by the local folder and by S3 over HTTP."""

import os

import pytest

from serving.blobs import BlobStore, LocalBlobs
from serving.blobs_s3 import S3Blobs
from serving.files import file_digest
from serving.store import StoreError
from tests.contract.test_artifact_store import call, credentials, s3_server

__all__ = ["credentials", "s3_server"]
PIECE = 5 << 20


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return LocalBlobs(tmp_path / "store")
    request.getfixturevalue("credentials")
    server = request.getfixturevalue("s3_server")
    bucket = f"blobs{abs(hash(str(tmp_path)))}"
    call(server, "create_bucket", Bucket=bucket)
    return S3Blobs(bucket, "team", endpoint_url=server, deadline_s=20, piece_bytes=PIECE)


@pytest.mark.parametrize("size", [0, 1000, PIECE, 2 * PIECE + 17])
def test_file_comes_back_byte_for_byte(store, tmp_path, size):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    store.put("audit/days/2026-01-01.parquet", file)
    found = store.fetch("audit/days/2026-01-01.parquet", tmp_path / "cache")
    assert file_digest(found) == file_digest(file)
    assert found.name == "2026-01-01.parquet"


def test_absent_file_is_named(store, tmp_path):
    with pytest.raises(StoreError, match=r"parts/x\.arrow") as caught:
        store.fetch("parts/x.arrow", tmp_path / "cache")
    assert caught.value.code == "store.missing"


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/../b", ".x", "", "a/"])
def test_name_that_leaves_the_store_is_refused(store, tmp_path, name):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreError) as caught:
        store.put(name, tmp_path / "file")
    assert caught.value.code == "store.name"


def test_store_that_is_away_is_an_error_within_the_deadline(tmp_path, credentials):
    store = S3Blobs("b", "", endpoint_url="http://127.0.0.1:9", deadline_s=0.2)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreError):
        store.put("x", tmp_path / "file")


def test_url_says_which_store(tmp_path):
    assert isinstance(BlobStore.open(tmp_path), LocalBlobs)
    assert isinstance(BlobStore.open("s3://bucket/prefix"), S3Blobs)
    with pytest.raises(StoreError):
        BlobStore.open("ftp://x")
