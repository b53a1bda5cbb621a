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


class TestRowsThatAreNone:
    def test_ndjson_keeps_its_order_and_says_what_each_bad_line_lacks(self, endpoint, tmp_path):
        given = bulk_world.rows(40)
        path = write(tmp_path / "in.ndjson", given)
        lines = path.read_bytes().splitlines()
        lines[3] = b"{broken"
        lines[4] = msgspec.json.encode({**given[4], "credit_amount": "many"})
        lines[39] = b"[]"
        path.write_bytes(b"\n".join(lines))
        done = run(endpoint, path, tmp_path / "out", batch_rows=5)
        found = answers(tmp_path / "out")
        assert [row["row"] for row in found] == list(range(40))
        assert {row["row"]: row["error"].partition(":")[0] for row in found if row["error"]} == {
            3: "body.json", 4: "features.type", 39: "body.shape",
        }  # fmt: skip
        assert [found[n]["case"] for n in (2, 3, 4)] == ["c2", None, "c4"]
        assert done.progress.errors == 3
        assert len({row["id"] for row in found}) == 40

    def test_csv_whose_columns_change_midway_answers_the_rows_before_and_names_the_others(
        self, endpoint, tmp_path
    ):
        path = write(tmp_path / "in.csv", bulk_world.rows(60))
        lines = path.read_bytes().splitlines()
        for number in range(31, 61):
            lines[number] += b",extra"
        lines[7] = lines[7].replace(b'"c6"', b'"c6, ""the sixth""\nof all"')
        path.write_bytes(b"\r\n".join(lines) + b"\r\n")
        run(endpoint, path, tmp_path / "out", batch_rows=11, unit_rows=25)
        found = answers(tmp_path / "out")
        assert [row["row"] for row in found] == list(range(60))
        assert all(row["error"] is None for row in found[:30])
        assert all("cells" in row["error"] for row in found[30:])
        assert found[6]["case"] == 'c6, "the sixth"\nof all'

    def test_csv_cells_of_wrong_types_are_errors_of_their_rows(self, endpoint, tmp_path):
        given = bulk_world.rows(30)
        good = write(tmp_path / "good.csv", given).read_text().splitlines()
        names = [name.strip('"') for name in good[0].split(",")]
        place = names.index("credit_amount")
        for row, text in ((2, "many"), (9, ""), (11, " 1000 "), (12, "nan")):
            cells = good[row + 1].split(",")
            cells[place] = text
            good[row + 1] = ",".join(cells)
        path = tmp_path / "in.csv"
        path.write_text("\n".join(good))
        run(endpoint, path, tmp_path / "out", batch_rows=8)
        found = answers(tmp_path / "out")
        wrong = {row["row"]: row["error"].partition(":")[0] for row in found if row["error"]}
        assert wrong == {
            2: "features.type", 9: "features.missing", 12: "features.type",
        }  # fmt: skip

    def test_more_bad_rows_than_tolerated_stop_the_job_before_their_part(self, endpoint, tmp_path):
        path = write(tmp_path / "in.ndjson", bulk_world.rows(120))
        lines = path.read_bytes().splitlines()
        lines[70] = lines[71] = b"[]"
        path.write_bytes(b"\n".join(lines))
        with pytest.raises(TooManyBadError, match="2 rows carry errors, expected at most 1"):
            run(endpoint, path, tmp_path / "out", max_bad=1)
        assert len(parts(tmp_path / "out")) == 1
        assert run(endpoint, path, tmp_path / "out", max_bad=2, resume=True).complete

    def test_truncated_parquet_stops_the_job_with_what_was_sound(self, endpoint, tmp_path):
        write(tmp_path / "in" / "a.parquet", bulk_world.rows(60))
        bad = write(tmp_path / "in" / "b.parquet", bulk_world.rows(60))
        bad.write_bytes(bad.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"b\.parquet"):
            run(endpoint, tmp_path / "in", tmp_path / "out")
        assert list(parts(tmp_path / "out")) == [
            "part-00000-00000.parquet",
            "part-00000-00001.parquet",
        ]
        assert not (tmp_path / "out" / "_SUCCESS").exists()
        write(bad, bulk_world.rows(60))
        assert run(endpoint, tmp_path / "in", tmp_path / "out", resume=True).complete
        assert len(answers(tmp_path / "out")) == 120

    def test_files_without_rows_have_a_part_without_rows(self, endpoint, tmp_path):
        write(tmp_path / "in" / "a.parquet", bulk_world.rows(3)[:0] or bulk_world.rows(1)).unlink()
        table = pa.Table.from_pylist(bulk_world.rows(2))
        pq.write_table(table.slice(0, 0), tmp_path / "in" / "a.parquet")
        write(tmp_path / "in" / "b.csv", bulk_world.rows(2))
        (tmp_path / "in" / "c.ndjson").write_bytes(b"\n\n")
        header = (tmp_path / "in" / "b.csv").read_bytes().splitlines()[0]
        (tmp_path / "in" / "d.csv").write_bytes(header)
        assert run(endpoint, tmp_path / "in", tmp_path / "out").complete
        assert len(answers(tmp_path / "out")) == 2
        assert len(parts(tmp_path / "out")) == 4


class TestComingBack:
    def test_valid_units_are_skipped_and_changed_ones_done_again(self, endpoint, tmp_path):
        for name in ("a", "b"):
            write(tmp_path / "in" / f"{name}.parquet", bulk_world.rows(120))
        out = tmp_path / "out"
        run(endpoint, tmp_path / "in", out)
        before = parts(out)
        (out / "part-00000-00001.parquet").write_bytes(b"damaged")
        write(tmp_path / "in" / "b.parquet", bulk_world.rows(60))
        done = run(endpoint, tmp_path / "in", out, resume=True)
        assert (done.progress.rows, done.progress.skipped, done.complete) == (110, 70, True)
        after = parts(out)
        assert len(after) == 5
        assert all(after[name] == before[name] for name in after if name.startswith("part-00000"))
        assert len(answers(out)) == 180

    def test_second_job_in_the_same_folder_is_refused(self, endpoint, tmp_path):
        path = write(tmp_path / "a.parquet", bulk_world.rows(5))
        run(endpoint, path, tmp_path / "out")
        with pytest.raises(ResumeError) as caught:
            run(endpoint, path, tmp_path / "out")
        assert caught.value.code == "bulk.exists"

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"output_format": "csv"}, "output format parquet"),
            ({"keys": ()}, "key columns case"),
            ({"unit_rows": 7}, "rows of a unit 50"),
        ],
    )
    def test_another_configuration_is_refused_by_name(self, endpoint, tmp_path, change, words):
        path = write(tmp_path / "a.parquet", bulk_world.rows(5))
        run(endpoint, path, tmp_path / "out")
        with pytest.raises(ResumeError, match=words):
            run(endpoint, path, tmp_path / "out", resume=True, **change)

    def test_another_release_or_other_inputs_are_refused_by_name(self, endpoint, tmp_path):
        source = tmp_path / "in"
        write(source / "a.parquet", bulk_world.rows(5))
        done = run(endpoint, source, tmp_path / "out")
        job = msgspec.structs.replace(done.job, number=8, digest="sha256:other")
        with pytest.raises(ResumeError, match=r"begun with release 7 .*active is release 8"):
            run(endpoint, source, tmp_path / "out", resume=True, job=job)
        write(source / "b.parquet", bulk_world.rows(5))
        with pytest.raises(ResumeError, match=r"new: b\.parquet"):
            run(endpoint, source, tmp_path / "out", resume=True)

    def test_told_to_stop_it_stops_between_units_and_goes_on_to_the_same_bytes(
        self, endpoint, tmp_path
    ):
        path = write(tmp_path / "a.ndjson", bulk_world.rows(300))
        looks = iter([None, None, StoppedError("credit was suspended", code="bulk.suspended")])

        def check():
            if (found := next(looks)) is not None:
                raise found

        with pytest.raises(StoppedError):
            run(endpoint, path, tmp_path / "out", check=check)
        assert len(parts(tmp_path / "out")) == 2
        done = run(endpoint, path, tmp_path / "out", resume=True)
        run(endpoint, path, tmp_path / "whole", job=done.job)
        assert parts(tmp_path / "out") == parts(tmp_path / "whole")
        names = ("_manifest.jsonl", "_SUCCESS")
        assert [(tmp_path / "out" / name).read_bytes() for name in names] == [
            (tmp_path / "whole" / name).read_bytes() for name in names
        ]


def test_shards_make_one_result_whoever_ends_last(endpoint, tmp_path):
    source = tmp_path / "in"
    for number in range(3):
        write(source / f"{number}.parquet", bulk_world.rows(130))
    complete = [
        run(endpoint, source, tmp_path / "out", shards=3, shard=shard).complete
        for shard in (1, 0, 2)
    ]
    assert complete == [False, False, True]
    raw = (tmp_path / "out" / "_manifest-0-of-3.jsonl").read_bytes()
    job = decode_manifest(raw, "m").job
    run(endpoint, source, tmp_path / "whole", job=msgspec.structs.replace(job, shards=1))
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")
