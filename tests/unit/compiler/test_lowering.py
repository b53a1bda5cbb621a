"""Lowering asks the fitted encoder and keeps its answers, for every kind of value."""

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)

from compiler.errors import AppError
from compiler.models.encode import encode_columns
from compiler.models.encoding import Encoding, EncodingError, Numeric, OneHot, Table, check_encoding
from compiler.models.lower import lower, selected_slots
from compiler.models.matrix import from_matrix, to_matrix
from compiler.models.tabulate import tabulate
from compiler.models.trees import TreeError, tree_arrays
from compiler.models.values import (
    Coded,
    ValueRangeError,
    ValueTypeError,
    number_column,
    word_column,
)
from compiler.schema import Feature

WORDS = ["a", "b", "b", "c", None, "a", "d", "a"]
FEATURES = {"w": Feature("string"), "v": Feature("enum", values=("x", "y", "z"))}
MATRIX = to_matrix({"w": WORDS, "v": ["x", "y"] * 4}, FEATURES)


def table_of(encoder, matrix=MATRIX, names=("w", "v"), target=None):
    fitted = encoder.fit(matrix) if target is None else encoder.fit(matrix, target)
    return tabulate([fitted], list(names), matrix, FEATURES)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop="first"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2),
        OneHotEncoder(handle_unknown="warn", max_categories=3),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-2
        ),
        TargetEncoder(random_state=0, cv=2),
    ],
    ids=["plain", "drop", "rare", "most", "ordinal", "ordinal-nan", "target"],
)
def test_look_up_answers_as_the_encoder_for_known_missing_and_unseen(encoder):
    target = np.asarray([0, 1, 0, 1, 0, 1, 0, 1])
    columns = table_of(encoder, target=target if isinstance(encoder, TargetEncoder) else None)
    asked = np.asarray(
        [[w, v] for w in ["a", "b", "c", "d", None, "new"] for v in ["x", "y", "z", None]], object
    )
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = encoder.transform(asked)
    expected = np.asarray(expected.toarray() if hasattr(expected, "toarray") else expected)
    got = encode_columns(
        from_matrix(asked, FEATURES), len(asked), Encoding(tuple(columns)), FEATURES
    )
    np.testing.assert_array_equal(got, expected.astype(np.float32))


def test_encoder_that_refuses_is_a_look_up_that_refuses():
    matrix = to_matrix({"w": ["a", "b"], "v": ["x", "y"]}, FEATURES)
    columns = table_of(OneHotEncoder(handle_unknown="error"), matrix)
    for column in columns:
        assert (column.missing, column.unseen) == (None, None)
    encoding = Encoding(tuple(columns))
    for word, code in (("new", "features.enum"), (None, "features.missing")):
        with pytest.raises(AppError) as caught:
            encode_columns({"w": [word], "v": ["x"]}, 1, encoding, FEATURES)
        assert caught.value.code == code
        assert caught.value.at == "row 0, w"


def test_column_that_depends_on_two_features_is_refused():
    mix = FunctionTransformer(
        lambda rows: np.asarray([[hash((str(a), str(b))) % 97] for a, b in rows], float)
    ).fit(MATRIX)
    with pytest.raises(AppError, match="depends on both w and v"):
        tabulate([mix], ["w", "v"], MATRIX, FEATURES)


def test_constant_slot_belongs_to_its_neighbour():
    matrix = to_matrix({"w": ["only"] * 3, "v": ["x", "y", "x"]}, FEATURES)
    columns = table_of(OneHotEncoder(handle_unknown="error"), matrix)
    got = encode_columns({"w": ["only"], "v": ["y"]}, 1, Encoding(tuple(columns)), FEATURES)
    assert got.tolist() == [[1, 0, 1]]


def test_numbers_encoded_as_categories_are_looked_up_as_float32():
    features = {"n": Feature("float"), "x": Feature("float")}
    matrix = to_matrix({"n": [0.1, 0.2, 0.1, 0.3] * 5, "x": list(range(20))}, features)
    pipeline = Pipeline(
        [
            (
                "c",
                ColumnTransformer(
                    [
                        ("n", OneHotEncoder(handle_unknown="ignore"), [0]),
                        ("x", StandardScaler(), [1]),
                    ]
                ),
            ),
            ("m", LogisticRegression()),
        ]
    ).fit(matrix, [0, 1] * 10)
    encoding = lower(pipeline, matrix, features).encoding
    got = encode_columns({"n": [0.1, 0.3, 0.5], "x": [1, 2, 3]}, 3, encoding, features)
    assert got[:, :3].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_imputation_becomes_a_constant_and_scaling_a_stage():
    features = {"a": Feature("float"), "b": Feature("float")}
    matrix = to_matrix({"a": [1.0, None, 3.0, 4.0], "b": [5.0, 6.0, None, 8.0]}, features)
    pipeline = Pipeline(
        [("i", SimpleImputer()), ("s", StandardScaler()), ("m", LogisticRegression())]
    ).fit(matrix, [0, 1, 0, 1])
    lowered = lower(pipeline, matrix, features)
    assert [column.missing for column in lowered.encoding.columns] == [
        pytest.approx(8 / 3),
        pytest.approx(19 / 3),
    ]
    assert len(lowered.stages) == 1
    assert lowered.rest == ()


def test_selection_keeps_track_of_slots_and_mixing_steps_do_not():
    features = {name: Feature("float") for name in "abcd"}
    random = np.random.default_rng(0)
    matrix = random.normal(size=(40, 4)).astype(np.float32)
    target = (matrix[:, 2] > 0).astype(int)
    chosen = Pipeline([("k", SelectKBest(k=2)), ("m", LogisticRegression())]).fit(matrix, target)
    assert 2 in selected_slots(lower(chosen, matrix, features))
    mixed = Pipeline([("p", PolynomialFeatures()), ("m", LogisticRegression())])
    assert selected_slots(lower(mixed.fit(matrix, target), matrix, features)) is None


def test_matrix_of_another_width_is_refused_with_the_expected_order():
    features = {"a": Feature("float"), "b": Feature("float")}
    model = LogisticRegression().fit(np.eye(3), [0, 1, 1])
    with pytest.raises(AppError, match="expected 2 columns") as caught:
        lower(model, np.eye(3), features)
    assert "a, b" in caught.value.hint


def test_categorical_splits_of_histogram_boosting_are_refused():
    matrix = np.random.default_rng(0).integers(0, 4, (60, 2)).astype(float)
    model = HistGradientBoostingClassifier(categorical_features=[0], max_iter=2)
    model.fit(matrix, matrix[:, 0] % 2)
    with pytest.raises(TreeError, match="categorical splits"):
        tree_arrays(model)


def test_protected_and_context_features_never_enter_the_matrix():
    features = {
        "a": Feature("float"),
        "age": Feature("int", protected=True),
        "context.channel": Feature("string"),
    }
    matrix = to_matrix({"a": [1.0], "age": [30], "context.channel": ["web"]}, features)
    assert matrix.tolist() == [[1.0]]


def test_training_numbers_are_rounded_to_float32_once():
    features = {"a": Feature("float"), "w": Feature("string")}
    matrix = to_matrix({"a": [0.1, 1 / 3], "w": ["x", None]}, features)
    assert [float(item) for item in matrix[:, 0]] == [
        float(np.float32(0.1)),
        float(np.float32(1 / 3)),
    ]
    assert matrix[1, 1] is None


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 3.5e38])
def test_infinite_or_too_large_numbers_are_refused_with_their_row(value):
    with pytest.raises(ValueRangeError) as caught:
        number_column("income", [1.0, value])
    assert caught.value.at == "row 1, income"


def test_largest_float32_is_accepted():
    largest = float(np.finfo(np.float32).max)
    assert number_column("x", [largest, -largest]).tolist() == [largest, -largest]


def test_text_where_a_number_belongs_is_refused():
    with pytest.raises(ValueTypeError, match="expected a number for income, got str"):
        number_column("income", [1, "2"])
    with pytest.raises(ValueTypeError, match="expected text for job, got int"):
        word_column("job", ["x", 2])


def test_times_of_numpy_become_days_and_seconds():
    days = np.asarray(["1970-01-03", "NaT"], "M8[D]")
    assert number_column("d", days).tolist()[0] == 2.0
    seconds = number_column("t", np.asarray(["1970-01-01T00:01:00"], "M8[ns]"))
    assert seconds.tolist() == [60.0]


def test_coded_words_encode_like_plain_words():
    part = OneHot("w", 2, ("a", "b"), (0, 1), missing=-1, unseen=-1)
    coded = Coded(np.asarray([0, 1, -1, 2]), ("b", "a", "new"))
    plain = ["b", "a", None, "new"]
    got = [
        encode_columns({"w": column}, 4, Encoding((part,)), FEATURES).tolist()
        for column in (coded, plain)
    ]
    assert got[0] == got[1] == [[0, 1], [1, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    "part",
    [
        Numeric("unknown"),
        OneHot("w", 2, ("a", "a"), (0, 1)),
        OneHot("w", 2, ("a",), (2,)),
        OneHot("w", 2, ("a",), (0, 1)),
        OneHot("w", 2, ("a",), (0,), missing=5),
        Table("w", 2, ("a",), ((1.0,),)),
        Table("w", 0, (), ()),
    ],
)
def test_encoding_that_contradicts_itself_is_refused(part):
    with pytest.raises(EncodingError):
        check_encoding(Encoding((part,)), set(FEATURES))
