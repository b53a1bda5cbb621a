"""Snapshots in S3 over HTTP: written, fetched, verified, cached within a bound."""

import os
import time

import pytest

from control_plane.datasets.errors import DataError
from control_plane.datasets.files import SnapshotFiles
from control_plane.datasets.ingest import ingest
from control_plane.datasets.schemas import Declaration
from control_plane.errors import SetupError
from tests.contract.test_artifact_store import call, credentials, s3_server

__all__ = ["credentials", "s3_server"]
DECLARED = Declaration(name="loans", task="clustering", source="test", licence="none")


@pytest.fixture
def bucket(s3_server, credentials, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    name = f"data{abs(hash(str(tmp_path)))}"
    call(s3_server, "create_bucket", Bucket=name)
    return name


def publish(files, rows):
    with files.incoming() as folder:
        table = folder / "upload.csv"
        table.write_text("a,b\n" + "".join(f"{n},{n % 7}\n" for n in range(rows)))
        out = folder / "snapshot"
        out.mkdir()
        done = ingest(table, "csv", DECLARED, out)
        files.publish(out, done.digest)
    return done.digest


def opener(bucket, tmp_path):
    return lambda cache, **bounds: SnapshotFiles(
        f"s3://{bucket}/team", cache=tmp_path / cache, **bounds
    )


def test_another_machine_reads_the_same_rows(bucket, tmp_path):
    make = opener(bucket, tmp_path)
    here, there = make("here"), make("there")
    digest = publish(here, 100)
    mine, yours = here.open(digest), there.open(digest)
    assert mine[0] == yours[0]
    assert mine[1].read_bytes() == yours[1].read_bytes()
    assert mine[1] != yours[1]


def test_a_damaged_copy_is_fetched_again(bucket, tmp_path):
    files = opener(bucket, tmp_path)("here")
    digest = publish(files, 100)
    path = files.open(digest)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert files.open(digest)[1].read_bytes() == whole


def test_changed_rows_in_the_store_are_refused(bucket, s3_server, tmp_path):
    make = opener(bucket, tmp_path)
    digest = publish(make("here"), 100)
    key = f"team/datasets/{digest.removeprefix('sha256:')}/data.parquet"
    call(s3_server, "put_object", Bucket=bucket, Key=key, Body=b"other")
    with pytest.raises(DataError, match="were changed"):
        make("there").open(digest)
    assert not list((tmp_path / "there").rglob("data.parquet"))


def test_what_is_not_there_is_said(bucket, tmp_path):
    with pytest.raises(DataError, match="not in the store"):
        opener(bucket, tmp_path)("here").open("sha256:" + "0" * 64)


def test_the_cache_is_bounded_and_spares_what_is_in_use(bucket, tmp_path):
    make = opener(bucket, tmp_path)
    digests = [publish(make("far"), rows) for rows in (50, 60, 70)]
    tight = make("tight", cache_bytes=1, in_use_s=0)
    spared = make("spared", cache_bytes=1)
    for digest in digests:
        tight.open(digest)
        spared.open(digest)
    assert len(list((tmp_path / "tight").rglob("data.parquet"))) == 1
    assert len(list((tmp_path / "spared").rglob("data.parquet"))) == len(digests)


def test_other_urls_are_refused():
    with pytest.raises(SetupError, match="s3://"):
        SnapshotFiles("gs://bank/data")


def test_half_written_snapshot_of_a_killed_process_goes_after_a_day(tmp_path):
    files = SnapshotFiles(str(tmp_path))
    with files.incoming() as young:
        old = young.with_name("tmpold")
        old.mkdir()
        (old / "data.parquet").write_bytes(b"half")
        upload = young.with_name("job-tmpold")
        upload.mkdir()
        past = time.time() - 90_000
        for each in (old, upload):
            os.utime(each, (past, past))
        with files.incoming():
            assert (old.exists(), young.exists(), upload.exists()) == (False, True, True)
