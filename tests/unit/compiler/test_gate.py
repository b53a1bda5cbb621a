"""The gate finds what is wrong with a graph: these tests break one on purpose."""

import msgspec
import numpy as np
import onnx
import pytest
from sklearn.linear_model import LogisticRegression

from compiler.models.build import build_package
from compiler.models.gate import Subject, check_parity
from compiler.models.graph import Built, ConversionError, emit_model
from compiler.models.lower import lower
from compiler.models.matrix import to_matrix
from compiler.models.parity import ParityError, batch_invariance, compare
from compiler.models.pipeline import make_pipeline
from compiler.models.portable import emit_portable
from compiler.package import read_package
from compiler.schema import OutputSchema
from tests.builders import OUTPUT, fitted, german_credit, signed_package


def subject(estimator):
    features, columns, _ = german_credit()
    _, pipeline = fitted(estimator)
    matrix = to_matrix(columns, features)
    lowered = lower(pipeline, matrix, features)
    built = emit_model(lowered, OUTPUT)
    portable = emit_portable(built, lowered.encoding, features).SerializeToString()
    return Subject(pipeline, lowered, built, portable, features, OUTPUT), matrix


def tampered(built, attribute, place, change):
    """The graph with one number of one attribute of its last node changed."""
    model = onnx.ModelProto()
    model.CopyFrom(built.model)
    for node in model.graph.node:
        for item in node.attribute:
            if item.name == attribute:
                item.floats[place] = change(item.floats[place])
    return Built(model, built.graph)


def test_sound_graph_passes_with_every_group_compared():
    found, matrix = subject("gradient_boosting")
    report = check_parity(found, matrix)
    assert set(report.rows) == {"training", "boundary", "missing", "unseen"}
    assert report.rows["training"] == 1000
    assert report.passed


def test_one_changed_leaf_is_found_and_its_rows_are_shown():
    found, matrix = subject("gradient_boosting")
    weights = next(
        item.floats
        for node in found.built.model.graph.node
        for item in node.attribute
        if item.name == "target_weights"
    )
    worst = int(np.argmax(np.abs(weights)))
    broken = tampered(found.built, "target_weights", worst, lambda leaf: leaf + 0.5)
    with pytest.raises(ParityError) as caught:
        check_parity(msgspec.structs.replace(found, built=broken), matrix)
    assert {row.graph for row in caught.value.rows} == {"lowered"}
    assert "credit_amount" in caught.value.rows[0].values


def test_threshold_one_step_too_low_is_found_on_the_boundary_only():
    found, matrix = subject("gradient_boosting")
    node = found.built.model.graph.node[0]
    by_name = {item.name: item for item in node.attribute}
    slot = found.lowered.encoding.slots()["credit_amount"][0]
    modes = by_name["nodes_modes"].strings
    place = next(
        index
        for index, feature in enumerate(by_name["nodes_featureids"].ints)
        if feature == slot and modes[index] == b"BRANCH_LEQ"
    )
    below = tampered(
        found.built,
        "nodes_values",
        place,
        lambda cut: float(np.nextafter(np.float32(cut), np.float32(-np.inf))),
    )
    with pytest.raises(ParityError) as caught:
        check_parity(msgspec.structs.replace(found, built=below), matrix)
    assert {row.group for row in caught.value.rows} == {"boundary"}


def test_portable_graph_of_another_model_is_found():
    found, matrix = subject("logistic_regression")
    other, _ = subject("gradient_boosting")
    with pytest.raises(ParityError) as caught:
        check_parity(msgspec.structs.replace(found, portable=other.portable), matrix)
    assert {row.graph for row in caught.value.rows} == {"portable"}


def test_failed_gate_writes_nothing(tmp_path, monkeypatch):
    found, matrix = subject("logistic_regression")
    features, _, target = german_credit()
    swapped = OutputSchema("classification", ("bad", "fine"))
    with pytest.raises(ConversionError, match="expected classes bad, fine"):
        build_package(
            found.pipeline, matrix, target, features=features, output=swapped, name="m",
            version=1, recipe=None, lineage={}, contributors=(), metrics={}, out_dir=tmp_path,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_answers_that_depend_on_the_batch_are_refused():
    def run(rows, min_rows):
        return [rows + np.float32(len(rows) * 1e-3)]

    with pytest.raises(ParityError, match="batches of different sizes"):
        batch_invariance(run, np.ones((1000, 1), np.float32))


def test_padding_is_found_where_one_row_alone_differs():
    def run(rows, min_rows):
        alone = max(len(rows), min_rows) == 1
        return [rows + np.float32(1e-3 if alone else 0)]

    assert batch_invariance(run, np.ones((1000, 1), np.float32)) == 2


def test_tie_within_tolerance_is_no_other_label():
    expected = (np.asarray([[0.5, 0.5], [0.4, 0.6]]), np.asarray(["a", "b"], object))
    got = (np.asarray([[0.5, 0.5], [0.4, 0.6]]), np.asarray(["b", "a"], object))
    _, flips = compare(expected, got, 1.0, 1e-5)
    assert flips.tolist() == [False, True]


def test_nan_is_never_close_enough():
    expected = (np.asarray([[1.0]]), None)
    difference, _ = compare(expected, (np.asarray([[np.nan]]), None), 1.0, 1e-5)
    assert difference.tolist() == [np.inf]


def test_classifier_without_probabilities_is_refused():
    features, columns, target = german_credit()
    recipe, _ = fitted("logistic_regression")
    pipeline = make_pipeline(recipe, features)
    pipeline.steps[-1] = ("model", LogisticRegression())
    matrix = to_matrix(columns, features)
    pipeline.fit(matrix, target)
    lowered = lower(pipeline, matrix, features)

    class Silent(LogisticRegression):
        predict_proba = property()

    silent = msgspec.structs.replace(lowered, estimator=Silent())
    with pytest.raises(Exception, match="Silent"):
        emit_model(silent, OUTPUT)


def test_refitting_a_recipe_from_its_record_gives_the_same_graph(tmp_path):
    from compiler.models.recipe import Recipe

    manifest = read_package(signed_package(tmp_path, estimator="random_forest").folder).manifest
    recipe = msgspec.convert(manifest.recipe, Recipe)
    features, columns, target = german_credit()
    matrix = to_matrix(columns, features)
    pipeline = make_pipeline(recipe, features).fit(matrix, target)
    built = emit_model(lower(pipeline, matrix, features), OUTPUT)
    import hashlib

    digest = hashlib.sha256(built.model.SerializeToString()).hexdigest()
    assert digest == manifest.files["model.onnx"].sha256
