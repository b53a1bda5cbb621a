"""What becomes of tables, good and bad, on their way into a snapshot."""

from __future__ import annotations

import hashlib

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compiler.errors import AppError
from control_plane.datasets.ingest import DATA, MANIFEST, ingest
from control_plane.datasets.schemas import Declaration


def declaration(**changes):
    values = {
        "name": "loans",
        "task": "classification",
        "source": "a test",
        "licence": "none",
        "target": "y",
    }
    return Declaration(**(values | changes))


def table(columns, rows=40):
    """CSV text of columns given as functions of the row number."""
    lines = [",".join(columns)]
    lines += [",".join(str(make(n)) for make in columns.values()) for n in range(rows)]
    return "\n".join(lines) + "\n"


def label(n):
    return "yes" if n % 3 else "no"


@pytest.fixture
def take(tmp_path):
    """Ingest a text; answers the outcome."""

    def run(text, kind="csv", **changes):
        path = tmp_path / f"in.{kind}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        run.folder = out
        return ingest(path, kind, declaration(**changes), out)

    return run


def types(done):
    return {name: feature.type for name, feature in done.manifest.features.items()}


def codes(done, column=None):
    return {f.code for f in done.findings if column in (None, f.column)}


def refused(take, text, **changes):
    with pytest.raises(AppError) as caught:
        take(text, **changes)
    return caught.value


def test_types_are_decided_by_all_rows(take):
    done = take(
        table(
            {
                "whole": lambda n: n * 7 % 11,
                "late_fraction": lambda n: n % 5 if n < 39 else 2.5,
                "flag": lambda n: "true" if n % 2 else "False",
                "day": lambda n: f"2024-01-{n % 28 + 1:02}",
                "at": lambda n: f"2024-01-01T00:00:{n % 60:02}Z",
                "word": lambda n: "abc"[n % 3],
                "code": lambda n: f"00{n % 4}",
                "y": label,
            }
        )
    )
    assert types(done) == {
        "whole": "int",
        "late_fraction": "float",
        "flag": "bool",
        "day": "date",
        "at": "timestamp",
        "word": "enum",
        "code": "enum",
    }
    assert done.manifest.features["code"].values == ("000", "001", "002", "003")
    assert done.manifest.output.classes == ("no", "yes")


def test_empty_cell_is_missing_and_quoted_empty_is_a_word(take):
    done = take(table({"a": lambda n: "" if n % 2 else n, "b": lambda n: '""' if n % 2 else "x",
                       "y": label}))  # fmt: skip
    assert done.manifest.features["a"].nullable
    assert not done.manifest.features["b"].nullable
    assert done.manifest.features["b"].values == ("", "x")


def test_numbers_are_rounded_to_float32_once(take):
    done = take(table({"v": lambda n: 0.1 * (n % 9), "y": label}))
    stored = pq.read_table(take.folder / DATA)["v"]
    assert stored.type == pa.float32()
    assert done.profile[0].counts != ()
    assert sum(done.profile[0].counts) == 40


def test_digest_names_document_and_rows_and_is_the_same_every_time(take):
    text = table({"a": lambda n: n % 7, "y": label})
    first = take(text)
    document = (take.folder / MANIFEST).read_bytes()
    assert first.digest == "sha256:" + hashlib.sha256(document).hexdigest()
    data = (take.folder / DATA).read_bytes()
    assert first.manifest.data.sha256 == hashlib.sha256(data).hexdigest()
    assert take(text).digest == first.digest
    assert take(text, licence="other").digest != first.digest


def test_names_that_rules_cannot_spell_are_changed_and_the_source_name_kept(take):
    done = take(table({"Age (years)": lambda n: n % 9, "Age years": lambda n: n % 7, "y": label}))
    assert list(done.manifest.features) == ["Age_years", "Age_years_2"]
    assert done.profile[0].source_name == "Age (years)"


def test_declared_missing_words_turn_a_text_into_numbers(take):
    text = table({"a": lambda n: "NA" if n % 20 == 0 else n % 17, "y": label})
    mixed = take(text)
    assert "column.mixed_types" in codes(mixed, "a")
    clean = take(text, missing=("NA",))
    assert types(clean)["a"] == "int"
    assert clean.manifest.features["a"].nullable


def test_column_that_knows_the_target_is_found(take):
    done = take(table({"a": lambda n: n * 37 % 41, "told": lambda n: 1.5 if n % 3 else 2.5,
                       "word": lambda n: "w" + label(n), "y": label}, rows=200))  # fmt: skip
    assert [f.column for f in done.findings if f.code == "column.leak"] == ["told", "word"]
    assert all(f.level == "error" for f in done.findings if f.code == "column.leak")


def test_leak_is_found_for_regressions_too(take):
    done = take(table({"a": lambda n: n * 37 % 41, "same": lambda n: n * 2 + 0.5,
                       "y": lambda n: n * 1.5}, rows=100), task="regression")  # fmt: skip
    assert "same" in [f.column for f in done.findings if f.code == "column.leak"]


def test_useless_columns_are_told_and_kept_out_of_training(take):
    done = take(
        table(
            {
                "nothing": lambda n: "",
                "constant": lambda n: 1,
                "name": lambda n: f"person {n}",
                "row": lambda n: n,
                "formula": lambda n: f"=cmd{n % 4}()",
                "big": lambda n: 2**40 + n % 5,
                "y": label,
            }
        )
    )
    assert set(done.manifest.excluded) == {"nothing", "name"}
    assert codes(done, "nothing") == {"column.empty"}
    assert codes(done, "constant") == {"column.constant"}
    assert codes(done, "name") == {"column.identifier"}
    assert codes(done, "row") == {"column.row_number"}
    assert codes(done, "formula") == {"column.formula"}
    assert codes(done, "big") == {"column.float32"}


def test_ignored_column_is_neither_checked_for_leaks_nor_a_feature(take):
    text = table({"a": lambda n: n * 37 % 41, "told": label, "y": label}, rows=100)
    done = take(text, ignore=("told",))
    assert "told" not in done.manifest.features
    assert "column.leak" not in codes(done)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "data.empty"),
        ("   \n \n", "data.empty"),
        ("a,b,y\n1,2,yes\n1,2\n", "data.cells"),
        ("a,a,y\n" + "1,2,yes\n" * 30, "data.header"),
        ("a,,y\n" + "1,2,yes\n" * 30, "data.header"),
        ('a,y\n"open,yes\n' + "1,yes\n" * 30, "data."),
        ("a,y\n1,yes\n2,no\n", "data.rows"),
        (b"a,y\n" + b"\xff\xfe,yes\n" * 40, "data.encoding"),
        (b"\xff\xfea,y\n" + b"1,yes\n" * 40, "data.encoding"),
        (",".join(f"c{n}" for n in range(3000)) + "\n", "data.columns"),
        (",".join(f"c{n}" for n in range(1_000_000)) + "\n", "data.columns"),
        ("a,y\n" + f"{'x' * 20_000},yes\n" * 30, "data.cell_size"),
        ("a,y\n" + "2024-02-31,yes\n2024-02-01,no\n" * 30, "data.value"),
        ("a,y\n" + "1e300,yes\n2,no\n" * 30, "data.range"),
    ],
)
def test_table_that_cannot_be_used_is_refused_by_name(take, text, code):
    assert refused(take, text).code.startswith(code)
    assert not (take.folder / MANIFEST).exists()


@pytest.mark.parametrize(
    ("columns", "changes", "code"),
    [
        ({"a": lambda n: n, "y": lambda n: "yes"}, {}, "target.one_class"),
        ({"a": lambda n: n, "y": lambda n: ""}, {}, "target.empty"),
        ({"a": lambda n: n, "y": lambda n: "no" if n == 3 else "yes"}, {}, "target.rare"),
        ({"a": lambda n: n, "y": lambda n: f"c{n // 5}"}, {"positive": "z"}, "target.positive"),
        ({"a": lambda n: n, "y": label}, {"target": "z"}, "dataset.target"),
        ({"a": lambda n: n, "y": label}, {"protected": ("z",)}, "dataset.column"),
        ({"a": lambda n: n, "y": label}, {"ignore": ("a",)}, "dataset.no_features"),
        ({"a": lambda n: n, "y": label}, {"task": "regression"}, "target.type"),
        ({"a": lambda n: n, "y": lambda n: 5}, {"task": "regression"}, "target.one_value"),
        ({"a": lambda n: "", "y": label}, {}, "dataset.no_features"),
    ],
)
def test_data_that_cannot_be_learnt_is_refused_by_name(take, columns, changes, code):
    assert refused(take, table(columns), **changes).code == code


def test_more_classes_than_a_classification_has_are_refused(take):
    error = refused(take, table({"a": lambda n: n % 3, "y": lambda n: f"c{n // 6}"}, rows=1200))
    assert (error.code, error.hint) == ("target.classes", "is this a regression?")


def test_parquet_gives_the_same_schema_and_rows_as_its_csv(take):
    text = table({"a": lambda n: n % 7, "w": lambda n: "xyz"[n % 3], "v": lambda n: n / 8,
                  "day": lambda n: f"2024-01-{n % 28 + 1:02}", "y": label})  # fmt: skip
    csv = take(text)
    expected = pq.read_table(take.folder / DATA)
    import io

    import pyarrow.csv

    sink = io.BytesIO()
    pq.write_table(pyarrow.csv.read_csv(io.BytesIO(text.encode())), sink)
    parquet = take(sink.getvalue(), kind="parquet")
    assert pq.read_table(take.folder / DATA) == expected
    assert parquet.digest == csv.digest


def test_nested_and_damaged_parquet_are_refused(take):
    import io

    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [[1], [2]], "y": ["a", "b"]}), sink)
    assert refused(take, sink.getvalue(), kind="parquet").code == "data.nested"
    assert refused(take, b"PAR1 nothing", kind="parquet").code == "data.parquet"


def test_profile_survives_as_json(take):
    done = take(table({"a": lambda n: n % 7, "y": label}))
    again = msgspec.json.decode(msgspec.json.encode(done), type=type(done))
    assert again == done


def test_many_repeated_texts_are_no_identifier(take):
    done = take(table({"city": lambda n: f"c{n % 6000}", "a": lambda n: n * 37 % 41, "y": label},
                      rows=20_000))  # fmt: skip
    assert codes(done, "city") == {"column.many_categories"}
    done = take(table({"id": lambda n: f"c{n}", "a": lambda n: n * 37 % 41, "y": label},
                      rows=20_000))  # fmt: skip
    assert codes(done, "id") == {"column.identifier"}
