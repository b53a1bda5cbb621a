"""The engine refuses what it cannot serve exactly, and says why."""

import io

import msgspec
import numpy as np
import pytest

from compiler.errors import AppError
from compiler.models.explain_arrays import pack
from compiler.package import read_package, write_package
from serving.cost import measure_us
from serving.engine import Engine, GoldenError
from serving.types import ScoreError
from tests.builders import applicant, german_credit, request_struct, signed_package

FEATURES, COLUMNS, _ = german_credit()


def rebuilt(tmp_path, change, estimator="gradient_boosting"):
    """The package with one file changed and everything hashed again: only golden rows can tell."""
    source = read_package(signed_package(tmp_path, estimator=estimator).folder)
    files = dict(source.files)
    change(files)
    return write_package(source.manifest, files, tmp_path / "rebuilt")[1]


def golden(files, **changes):
    with np.load(io.BytesIO(files["golden.npz"]), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    files["golden.npz"] = pack(arrays)


def test_golden_rows_that_differ_in_one_bit_are_refused(tmp_path):
    def change(files):
        golden(files, output_probabilities=lambda a: np.nextafter(a, np.float32(1)))

    with pytest.raises(GoldenError, match="bit for bit"):
        Engine.load(rebuilt(tmp_path, change))


def test_last_bit_may_differ_on_another_runtime_and_is_said(tmp_path):
    def change(files):
        golden(
            files,
            output_probabilities=lambda a: np.nextafter(a, np.float32(1)),
            runtime=lambda _: np.asarray("0.0.1"),
        )

    assert Engine.load(rebuilt(tmp_path, change)).replay.startswith("equal within 1e-6")


def test_larger_difference_is_refused_on_any_runtime(tmp_path):
    def change(files):
        golden(
            files,
            output_probabilities=lambda a: a + np.float32(1e-3),
            host=lambda _: np.asarray("another"),
        )

    with pytest.raises(GoldenError, match="more than 1e-6"):
        Engine.load(rebuilt(tmp_path, change))


def test_model_of_another_package_is_refused(tmp_path):
    other = read_package(signed_package(tmp_path / "o", estimator="random_forest").folder)

    def change(files):
        files["model.onnx"] = other.files["model.onnx"]

    with pytest.raises(GoldenError):
        Engine.load(rebuilt(tmp_path, change))


def test_golden_rows_of_another_width_are_refused(tmp_path):
    def change(files):
        golden(files, rows=lambda a: a[:, :-1])

    with pytest.raises(GoldenError, match="another shape"):
        Engine.load(rebuilt(tmp_path, change))


def test_encoding_of_another_width_than_the_graph_is_refused(tmp_path):
    source = read_package(signed_package(tmp_path).folder)
    encoding = msgspec.structs.replace(
        source.manifest.encoding, columns=source.manifest.encoding.columns[:-1]
    )
    manifest = msgspec.structs.replace(source.manifest, encoding=encoding)
    folder = write_package(manifest, source.files, tmp_path / "rebuilt")[1]
    with pytest.raises(ScoreError, match="the graph takes 54 slots"):
        Engine.load(folder)


def test_file_with_a_pickle_is_refused_unread(tmp_path):
    def change(files):
        buffer = io.BytesIO()
        np.savez(buffer, rows=np.asarray([{"a": 1}], dtype=object))
        files["golden.npz"] = buffer.getvalue()

    with pytest.raises(GoldenError, match="allow_pickle"):
        Engine.load(rebuilt(tmp_path, change))


def test_request_type_without_a_feature_is_refused_when_bound(tmp_path):
    model = Engine.load(signed_package(tmp_path).folder)
    kind = msgspec.defstruct("Other", [("height", float)])
    with pytest.raises(ScoreError, match="credit_amount"):
        model.bind(kind)


def test_number_beyond_float32_is_worded_and_the_scorer_goes_on(tmp_path):
    model = Engine.load(signed_package(tmp_path).folder)
    kind = request_struct(FEATURES)
    score = model.bind(kind)
    before = score(kind(**applicant(0)))
    with pytest.raises(AppError) as caught:
        score(kind(**{**applicant(0), "credit_amount": 10**60}))
    assert caught.value.code == "features.range"
    assert "credit_amount" in caught.value.message
    assert score(kind(**applicant(0))) == before


def test_unseen_word_scores_as_the_encoder_was_fitted_to(tmp_path):
    model = Engine.load(signed_package(tmp_path).folder)
    kind = request_struct(FEATURES)
    label, shares = model.bind(kind)(kind(**{**applicant(0), "purpose": "a yacht"}))
    assert label in ("bad", "good")
    assert sum(shares) == pytest.approx(1.0)


def test_two_scorers_of_one_model_do_not_share_memory(tmp_path):
    model = Engine.load(signed_package(tmp_path).folder)
    kind = request_struct(FEATURES)
    first, second = model.bind(kind), model.bind(kind)
    one = first(kind(**applicant(0)))
    two = second(kind(**applicant(1)))
    assert (first(kind(**applicant(0))), second(kind(**applicant(1)))) == (one, two)
    assert one != two


def test_matrix_is_the_row_that_is_scored(tmp_path):
    model = Engine.load(signed_package(tmp_path).folder)
    kind = request_struct(FEATURES)
    row = model.matrix(kind(**applicant(4)))
    assert row.shape == (1, 54)
    assert model.score_rows(row).row(0) == model.bind(kind)(kind(**applicant(4)))


@pytest.mark.parametrize("rows", [1, 2, 5000])
def test_any_number_of_rows_is_scored(tmp_path, rows):
    model = Engine.load(signed_package(tmp_path).folder)
    columns = {name: (values * 5)[:rows] for name, values in COLUMNS.items()}
    outputs = model.score_columns(columns, rows)
    assert outputs.probabilities.shape == (rows, 2)
    assert outputs.row(0) == model.score_columns(COLUMNS, 1000).row(0)


def test_cost_is_measured_over_many_calls_of_a_cheap_model(tmp_path):
    assert Engine.load(signed_package(tmp_path).folder).cost_us > 0
    calls = []
    measure_us(lambda: calls.append(1))
    assert len(calls) > 100


def test_a_slow_model_is_measured_with_few_calls():
    calls = []

    def slow():
        calls.append(1)
        sum(range(100_000))  # a millisecond or more

    assert measure_us(slow) > 300
    assert len(calls) <= 60
