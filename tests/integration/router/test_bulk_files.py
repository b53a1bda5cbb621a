"""A job answers every row of every format, in order, and says what is wrong with the others."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from router.bulk.errors import InputError, ResumeError, StoppedError, TooManyBadError
from router.bulk.manifest import decode_manifest
from tests import bulk_world, router_world
from tests.bulk_world import answers, parts, run, write

ROWS = 230


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bulk")
    router_world.publish(folder)
    return folder


@pytest.fixture(scope="module")
def endpoint(home):
    from router.bulk.watch import pin

    return pin(router_world.settings_for(home), "credit")[0]


@pytest.fixture(scope="module")
def expected(endpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("expected")
    write(folder / "in" / "a.parquet", bulk_world.rows(ROWS))
    run(endpoint, folder / "in", folder / "out", unit_rows=10**6, batch_rows=10**6, id="00" * 8,
        now_us=1)  # fmt: skip
    found = answers(folder / "out")
    assert len(found) == ROWS
    assert {row["rule"] for row in found} == {"rule1", "rule2", "default"}
    return found


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".ndjson", ".csv"])
@pytest.mark.parametrize("batch_rows", [7, 1000])
def test_every_format_gives_the_same_answers(endpoint, expected, tmp_path, suffix, batch_rows):
    write(tmp_path / "in" / f"a{suffix}", bulk_world.rows(ROWS))
    done = run(endpoint, tmp_path / "in", tmp_path / "out", id="00" * 8, now_us=1,
               batch_rows=batch_rows)  # fmt: skip
    assert done.complete
    assert answers(tmp_path / "out") == expected
    proof = msgspec.json.decode((tmp_path / "out" / "_SUCCESS").read_bytes())
    assert (proof["rows_in"], proof["rows_out"], proof["errors"]) == (ROWS, ROWS, 0)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows", "ndjson", "csv"])
def test_how_rows_are_cut_and_how_many_threads_score_does_not_show_in_the_bytes(
    endpoint, tmp_path, kind
):
    source = write(tmp_path / "in" / "a.parquet", bulk_world.rows(ROWS), row_group_size=41)
    found = []
    for name, batch_rows, workers in (("one", 9, 1), ("two", 64, 3)):
        run(endpoint, source, tmp_path / name, id="00" * 8, now_us=1, batch_rows=batch_rows,
            workers=workers, output_format=kind)  # fmt: skip
        found.append(parts(tmp_path / name))
    assert found[0] == found[1]
    assert len(found[0]) == 5
