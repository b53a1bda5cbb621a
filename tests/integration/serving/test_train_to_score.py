"""What was trained is what is served: fit, package, sign, verify, load, bind, score."""

import numpy as np
import pytest

from compiler.models.matrix import to_matrix
from compiler.package import verify_package
from serving.engine import Engine
from tests.builders import (
    BUILDER_PERSON,
    applicant,
    fitted,
    german_credit,
    request_struct,
    signed_package,
)

ESTIMATORS = ["logistic_regression", "gradient_boosting", "hist_gradient_boosting", "random_forest"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_served_scores_are_the_pipelines_scores(tmp_path, estimator):
    package = signed_package(tmp_path, estimator=estimator)
    features, columns, _ = german_credit()
    _, pipeline = fitted(estimator)
    matrix = to_matrix(columns, features)

    assert verify_package(package.folder, package.trust)[1] == BUILDER_PERSON
    model = Engine.load(package.folder, trust=package.trust, expected_digest=package.digest)
    assert (model.builder, model.replay) == (BUILDER_PERSON, "bit-equal")

    kind = request_struct(features)
    score = model.bind(kind)
    answers = [score(kind(**applicant(row))) for row in range(len(matrix))]
    expected = pipeline.predict_proba(matrix)
    np.testing.assert_allclose([p for _, p in answers], expected, atol=1e-6)
    assert [label for label, _ in answers] == pipeline.predict(matrix).tolist()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_row_alone_equals_the_same_row_among_many_bit_for_bit(tmp_path, estimator):
    package = signed_package(tmp_path, estimator=estimator)
    features, columns, _ = german_credit()
    model = Engine.load(package.folder)
    kind = request_struct(features)
    score = model.bind(kind)
    many = model.score_columns(columns, 1000)
    assert [score(kind(**applicant(row))) for row in range(1000)] == [
        many.row(row) for row in range(1000)
    ]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_answer_alike_in_batches_of_any_size_bit_for_bit(tmp_path, estimator):
    model = Engine.load(signed_package(tmp_path, estimator=estimator).folder)
    _, columns, _ = german_credit()
    rows = np.tile(model.encode_columns(columns, 1000), (3, 1))
    whole = model.score_rows(rows).probabilities
    random = np.random.default_rng(6)
    for size in random.integers(1, 3000, 40):
        start = int(random.integers(0, 3000 - size + 1))
        part = model.score_rows(rows[start : start + size]).probabilities
        assert part.tobytes() == whole[start : start + size].tobytes(), size
