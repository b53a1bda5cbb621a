"""Explanations add up to the served answer and equal the definition of the Shapley value."""

import itertools
from math import factorial

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from compiler.errors import AppError
from compiler.models.build import build_package
from compiler.package import read_package, write_package
from compiler.schema import Feature, OutputSchema
from serving.explain.explainer import Explanation, load_explainer
from serving.explain.paths import floor32
from serving.explain.permutation import PermutationShapley
from serving.explain.reasons import in_words
from serving.explain.trees import TreeShapley
from tests.builders import applicant, german_credit, signed_package

ESTIMATORS = ["logistic_regression", "gradient_boosting", "hist_gradient_boosting", "random_forest"]


def stump(feature, cut, low, high):
    """left, right, default_left, feature, threshold, value of one split."""
    return ([1, -1, -1], [2, -1, -1], [True] * 3, [feature, -1, -1], [cut, 0, 0], [0.0, low, high])


def arrays(trees, references, weights, base=0.0):
    parts = list(zip(*trees, strict=True))
    return {
        "offsets": np.cumsum([0, *(len(part) for part in parts[0])]),
        **{
            name: np.concatenate([np.asarray(p) for p in part])
            for name, part in zip(
                ("left", "right", "default_left", "feature", "threshold", "value"),
                parts,
                strict=True,
            )
        },
        "references": np.asarray(references, np.float32),
        "weights": np.asarray(weights, float),
        "base": np.asarray(base),
    }


def walk(tree, row):
    left, right, default_left, feature, threshold, value = tree
    node = 0
    while feature[node] >= 0:
        x = row[feature[node]]
        goes_left = default_left[node] if np.isnan(x) else float(x) <= threshold[node]
        node = left[node] if goes_left else right[node]
    return value[node]


def by_definition(trees, row, references, weights, base):
    """The sum over all coalitions, straight from Shapley 1953."""
    width = len(row)

    def value(coalition):
        total = 0.0
        for reference, weight in zip(references, weights, strict=True):
            mixed = [row[i] if i in coalition else reference[i] for i in range(width)]
            total += weight * sum(walk(tree, mixed) for tree in trees)
        return total + base

    phi = []
    for i in range(width):
        others = [j for j in range(width) if j != i]
        share = 0.0
        for size in range(width):
            for chosen in itertools.combinations(others, size):
                weight = factorial(size) * factorial(width - size - 1) / factorial(width)
                share += weight * (value({*chosen, i}) - value(set(chosen)))
        phi.append(share)
    return phi


def random_tree(random, width, depth):
    left, right, default, feature, threshold, value = [], [], [], [], [], []

    def grow(level):
        node = len(left)
        for part in (left, right):
            part.append(-1)
        default.append(bool(random.random() < 0.5))
        leaf = level == depth or random.random() < 0.2
        feature.append(-1 if leaf else int(random.integers(width)))
        threshold.append(float(np.round(random.normal(), 1)))
        value.append(float(random.normal()))
        if not leaf:
            left[node] = grow(level + 1)
            right[node] = grow(level + 1)
        return node

    grow(0)
    return (left, right, default, feature, threshold, value)


def test_tree_values_equal_the_definition():
    random = np.random.default_rng(11)
    for _ in range(30):
        trees = [random_tree(random, 4, 4) for _ in range(3)]
        references = np.round(random.normal(size=(3, 4)), 1).astype(np.float32)
        references[0, 1] = np.nan
        weights = [0.5, 0.3, 0.2]
        row = np.round(random.normal(size=4), 1).astype(np.float32)
        row[2] = np.nan
        shapley = TreeShapley(arrays(trees, references, weights, base=0.25))
        expected = by_definition(trees, row, references, weights, 0.25)
        np.testing.assert_allclose(shapley.explain(row), expected, atol=1e-12)
        output = 0.25 + sum(walk(tree, row) for tree in trees)
        assert shapley.base + shapley.explain(row).sum() == pytest.approx(output, abs=1e-12)


@pytest.mark.parametrize(("table", "pair_bits"), [(0, 8), (0, 0), (200, 8), (200, 0)])
def test_short_and_long_paths_give_the_same_values(monkeypatch, table, pair_bits):
    random = np.random.default_rng(5)
    for _ in range(10):
        trees = [random_tree(random, 12, 10) for _ in range(4)]
        references = np.round(random.normal(size=(5, 12)), 1).astype(np.float32)
        references[1, 3] = np.nan
        given = arrays(trees, references, [0.3, 0.3, 0.2, 0.1, 0.1])
        rows = np.round(random.normal(size=(5, 12)), 1).astype(np.float32)
        rows[0, 0] = np.nan
        tabled = TreeShapley(given)
        with monkeypatch.context() as patch:
            patch.setattr("serving.explain.trees.MAX_TABLE", table)
            patch.setattr("serving.explain.paths.PAIR_BITS", pair_bits)
            paired = TreeShapley(given)
        assert paired.base == pytest.approx(tabled.base, abs=1e-12)
        for row in rows:
            np.testing.assert_allclose(paired.explain(row), tabled.explain(row), atol=1e-12)
            output = sum(walk(tree, row) for tree in trees)
            assert paired.base + paired.explain(row).sum() == pytest.approx(output, abs=1e-12)


def test_bounds_compare_with_float32_as_the_number_itself():
    for bound in (0.1, 0.3, -0.1, 1 / 3, 1e300, -1e300, 5e-46, 0.0, 16777217.0):
        low = floor32(np.asarray([bound]))[0]
        with np.errstate(over="ignore"):
            near = (low, np.nextafter(low, np.float32(np.inf)), np.float32(bound))
        for value in near:
            assert (value <= low) == (float(value) <= bound)


def clusters(tmp_path):
    random = np.random.default_rng(3)
    matrix = random.normal(size=(400, 5)).astype(np.float32) * [1, 10, 0.1, 5, 2]
    matrix = matrix.astype(np.float32)
    matrix[:200] += np.float32(3)
    fitted = make_pipeline(StandardScaler(), KMeans(3, n_init=2, random_state=1)).fit(matrix)
    info = build_package(
        fitted,
        matrix,
        None,
        features={f"x{place}": Feature("float") for place in range(5)},
        output=OutputSchema("clustering"),
        name="clusters",
        version=1,
        recipe=None,
        lineage={},
        contributors=(),
        metrics={},
        out_dir=tmp_path,
    )
    return info.path, matrix


def test_squared_distance_to_the_own_centre_is_explained_exactly(tmp_path):
    folder, matrix = clusters(tmp_path)
    explainer = load_explainer(folder)
    for row in matrix[::37]:
        values = {f"x{place}": float(value) for place, value in enumerate(row)}
        found = explainer.explain(values)
        assert (found.method, found.state, found.space) == ("distance", "ok", "squared distance")
        assert found.base + sum(found.phi.values()) == pytest.approx(found.output, rel=1e-4)
        cluster = explainer.model.score_rows(row[None, :]).clusters[0]
        parts = explainer._exact

        def own(rows, cluster=cluster, parts=parts):
            return parts._parts(parts._stages.apply(rows), parts._centres[cluster]).sum(axis=1)

        asked = PermutationShapley(
            own, {name: [n] for n, name in enumerate(values)}, explainer._references,
            explainer._weights,
        )  # fmt: skip
        assert asked.explain(row) == pytest.approx(found.phi, abs=1e-6)


def test_threshold_itself_goes_left():
    shapley = TreeShapley(arrays([stump(0, 0.5, 1.0, 9.0)], [[2.0]], [1.0]))
    assert shapley.explain(np.asarray([0.5], np.float32)).tolist() == [-8.0]


def test_permutation_values_are_exact_for_few_features():
    def score(rows):
        return (rows[:, 0] * rows[:, 1] + 3 * rows[:, 2]).astype(float)

    references = np.zeros((1, 3), np.float32)
    slots = {"a": [0], "b": [1], "c": [2]}
    shapley = PermutationShapley(score, slots, references, np.ones(1))
    phi = shapley.explain(np.asarray([2, 3, 1], np.float32))
    assert phi == {"a": 3.0, "b": 3.0, "c": 3.0}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_explanation_adds_up_to_the_served_answer(tmp_path, estimator):
    explainer = load_explainer(signed_package(tmp_path, estimator=estimator).folder)
    for index in range(0, 1000, 125):
        found = explainer.explain(applicant(index))
        assert found.state == "ok"
        assert found.method == explainer.method != "permutation"
        assert found.base + sum(found.phi.values()) == pytest.approx(found.output, abs=2e-4)
        assert found.target == "good"


@pytest.mark.parametrize("estimator", ["logistic_regression", "gradient_boosting"])
def test_one_hot_columns_are_summed_to_their_feature(tmp_path, estimator):
    explainer = load_explainer(signed_package(tmp_path, estimator=estimator).folder)
    features, _, _ = german_credit()
    used = {name for name, feature in features.items() if not feature.protected}
    assert set(explainer.explain(applicant(3)).phi) == used


@pytest.mark.parametrize("estimator", ["logistic_regression", "hist_gradient_boosting"])
def test_exact_and_asked_explanations_agree_on_the_large_contributions(tmp_path, estimator):
    explainer = load_explainer(signed_package(tmp_path, estimator=estimator).folder)
    exact = explainer.explain(applicant(1)).phi
    row = explainer.model.encode_columns({k: [v] for k, v in applicant(1).items()}, 1)[0]
    asked = explainer._permutation().explain(row)
    top = max(exact, key=lambda name: abs(exact[name]))
    assert asked[top] == pytest.approx(exact[top], rel=0.15)
    assert sum(asked.values()) == pytest.approx(sum(exact.values()), abs=2e-4)


def test_arrays_of_another_model_are_found_out_and_the_graph_is_asked(tmp_path):
    explainer = load_explainer(signed_package(tmp_path).folder)
    explainer._exact._slope = explainer._exact._slope * 1.5
    found = explainer.explain(applicant(1))
    assert (found.state, found.method) == ("mismatch", "permutation")
    assert found.base + sum(found.phi.values()) == pytest.approx(found.output, abs=1e-9)


def test_value_that_does_not_fit_is_named(tmp_path):
    explainer = load_explainer(signed_package(tmp_path).folder)
    with pytest.raises(AppError, match="expected a number for duration_in_month"):
        explainer.explain({**applicant(1), "duration_in_month": "long"})


def test_reasons_name_only_what_counted_against_largest_first():
    phi = {"age": 0.5, "debt": -0.2, "months": -0.7, "job": 0.0}
    found = Explanation(0.1, phi, 0.0, "tree", "margin", target="good")
    schema = {
        "debt": Feature("float", unit="EUR"),
        "months": Feature("int", description="duration of the credit"),
        "job": Feature("string"),
        "age": Feature("int"),
    }
    values = {"age": 30, "debt": 1200.0, "months": 48, "job": "cook"}
    assert in_words(found, values, schema) == (
        "duration of the credit = 48 lowered the log-odds of good by 0.700",
        "debt = 1200 EUR lowered the log-odds of good by 0.200",
    )
    both = in_words(found, values, schema, adverse=False, limit=2)
    assert both[1] == "age = 30 raised the log-odds of good by 0.500"


def test_reasons_say_when_a_value_was_not_given():
    found = Explanation(0.0, {"debt": -1.0}, 0.0, "tree", "probability", target="good")
    assert in_words(found, {}, {"debt": Feature("float")}) == (
        "debt (not given) lowered the probability of good by 1.000",
    )


def test_cost_of_an_explanation_is_measured(tmp_path):
    explainer = load_explainer(signed_package(tmp_path).folder)
    assert 0 < explainer.measure_us(applicant(0), calls=2) < 1e6


def test_explanation_arrays_that_cannot_be_read_are_refused(tmp_path):
    source = read_package(signed_package(tmp_path).folder)
    for content, words in ((b"no archive", "cannot be used"), (None, "no explain.npz")):
        files = {**source.files, "explain.npz": content}
        if content is None:
            del files["explain.npz"]
        folder = write_package(source.manifest, files, tmp_path / "rebuilt")[1]
        with pytest.raises(AppError, match=words):
            load_explainer(folder)
