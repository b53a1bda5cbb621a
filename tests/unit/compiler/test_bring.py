"""Pipelines and ONNX files from elsewhere: packaged exactly, or refused with the reason."""

import io

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)

from compiler.errors import AppError
from compiler.models.bring import BringError, package
from compiler.models.foreign import ForeignModelError, import_model
from compiler.models.parity import ParityError
from compiler.schema import Feature, OutputSchema
from serving.engine import Engine

SCHEMA = {
    "income": {"type": "float"},
    "months": {"type": "int", "nullable": True},
    "region": {"type": "enum", "values": ["north", "south"], "nullable": True},
    "age": {"type": "int", "protected": True},
}
ROWS = 200
NAMES = ["income", "months", "region"]


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(2)
    data = pd.DataFrame(
        {
            "income": random.lognormal(8, 1, ROWS),  # not representable in float32
            "months": random.integers(1, 60, ROWS).astype(float),
            "region": random.choice(["north", "south"], ROWS),
        }
    )
    data.loc[::17, "months"] = np.nan
    data["region"] = data["region"].astype(object)
    return data


@pytest.fixture(scope="module")
def target(frame):
    noise = np.random.default_rng(3).normal(0, 0.3, ROWS)
    return np.where(np.log(frame["income"]) + noise > 8, "yes", "no")


def columns(*numeric):
    steps = [("impute", SimpleImputer()), *((f"n{i}", step) for i, step in enumerate(numeric))]
    return ColumnTransformer(
        [
            ("numbers", Pipeline(steps), ["income", "months"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["region"]),
        ]
    )


@pytest.mark.parametrize(
    "pipeline",
    [
        Pipeline([("c", columns(StandardScaler())), ("m", LogisticRegression())]),
        Pipeline([("c", columns()), ("m", RandomForestClassifier(10, random_state=0))]),
        Pipeline(
            [
                ("c", columns(StandardScaler())),
                ("p", PolynomialFeatures(2)),
                ("m", LogisticRegression(max_iter=2000)),
            ]
        ),
    ],
    ids=["scaled", "forest", "polynomial"],
)
def test_pipeline_fitted_on_a_frame_is_packaged_exactly(tmp_path, frame, target, pipeline):
    pipeline.fit(frame, target)
    out = io.StringIO()
    info = package(pipeline, frame, SCHEMA, name="mine", out_dir=tmp_path, report=out)
    assert "largest difference" in out.getvalue()
    assert info.digest in out.getvalue()
    outputs = Engine.load(info.path).score_columns(frame.to_dict("list"), ROWS)
    expected = pipeline.predict_proba(frame)
    assert np.median(np.abs(outputs.probabilities - expected)) < 1e-6


def test_pipeline_fitted_on_a_matrix_is_packaged(tmp_path):
    random = np.random.default_rng(4)
    matrix = random.normal(size=(100, 2)).astype(np.float32)
    model = LinearRegression().fit(matrix, matrix @ [2.0, -1.0] + 3)
    schema = {"a": Feature("float"), "b": Feature("float")}
    info = package(model, matrix, schema, name="line", out_dir=tmp_path, report=None)
    outputs = Engine.load(info.path).score_columns({"a": [1.0], "b": [1.0]}, 1)
    assert outputs.row(0) == pytest.approx((4.0,), abs=1e-5)


def test_ordinal_codes_and_an_encoder_that_refuses_unseen_words(tmp_path, frame, target):
    pipeline = Pipeline(
        [
            (
                "c",
                ColumnTransformer(
                    [
                        ("words", OrdinalEncoder(), ["region"]),
                        ("numbers", SimpleImputer(), ["income", "months"]),
                    ]
                ),
            ),
            ("m", RandomForestClassifier(5, random_state=0)),
        ]
    ).fit(frame, target)
    info = package(pipeline, frame, SCHEMA, name="strict", out_dir=tmp_path, report=None)
    assert info.parity.refused > 0
    with pytest.raises(AppError, match="category of region seen in training"):
        Engine.load(info.path).score_columns(
            {"income": [1.0], "months": [1], "region": ["east"]}, 1
        )


def test_protected_column_in_the_pipeline_is_refused(frame, target):
    with_age = frame.assign(age=30)
    pipeline = Pipeline([("c", columns()), ("m", LogisticRegression())]).fit(with_age, target)
    with pytest.raises(BringError, match="reads age, which is protected"):
        package(pipeline, with_age, SCHEMA, name="mine", report=None)


def test_column_outside_the_schema_is_named(frame, target):
    more = frame.assign(shoe_size=42)
    pipeline = Pipeline([("c", columns()), ("m", LogisticRegression())]).fit(more, target)
    with pytest.raises(BringError, match="shoe_size, which the schema does not have"):
        package(pipeline, more, SCHEMA, name="mine", report=None)


def test_estimator_outside_the_allow_list_is_refused_with_a_neighbour(frame, target):
    pipeline = Pipeline([("c", columns()), ("m", AdaBoostClassifier())]).fit(frame, target)
    with pytest.raises(AppError, match="AdaBoostClassifier") as caught:
        package(pipeline, frame, SCHEMA, name="mine", report=None)
    assert "gradient_boosting" in caught.value.hint


def test_text_column_without_an_encoder_is_refused(frame, target):
    pipeline = Pipeline(
        [
            (
                "c",
                ColumnTransformer(
                    [("n", SimpleImputer(), ["income", "months"])], remainder="passthrough"
                ),
            ),
            ("m", RandomForestClassifier(3)),
        ]
    )
    coded = frame.assign(region=(frame["region"] == "north").astype(float))
    pipeline.fit(coded, target)
    with pytest.raises(AppError, match="expected an encoder for region"):
        package(pipeline, frame, SCHEMA, name="mine", report=None)


def test_binned_numbers_are_packaged_exactly(tmp_path, frame, target):
    bins = KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf")
    pipeline = Pipeline([("c", columns(bins)), ("m", LogisticRegression())]).fit(frame, target)
    info = package(pipeline, frame, SCHEMA, name="bins", out_dir=tmp_path, report=None)
    assert max(info.parity.label_flips.values()) == 0


def test_step_that_float32_blurs_is_refused_and_its_rows_are_shown(tmp_path, frame, target):
    power = PowerTransformer(standardize=False)
    pipeline = Pipeline([("c", columns(power)), ("m", LogisticRegression())]).fit(frame, target)
    with pytest.raises(ParityError, match="expected answers within 1e-05") as caught:
        package(pipeline, frame, SCHEMA, name="blur", out_dir=tmp_path, report=None)
    assert set(caught.value.rows[0].values) == set(NAMES)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def foreign(nodes, outputs, width=2, constants=()):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        outputs,
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model.SerializeToString()


FOREIGN = {
    "amount": Feature("float"),
    "kind": Feature("enum", values=("a", "b")),
    "age": Feature("int", protected=True),
}
SAMPLES = {"amount": [1.0, 2.0, 3.0, -1.0], "kind": ["a", "b", "a", "b"]}


def softmax():
    out = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    return foreign([helper.make_node("Softmax", ["x"], ["p"], axis=1)], [out])


def bring(tmp_path, model, output, samples=None):
    return import_model(
        model,
        samples or SAMPLES,
        len((samples or SAMPLES)["amount"]),
        features=FOREIGN,
        output=output,
        name="foreign",
        version=1,
        contributors=(),
        out_dir=tmp_path,
    )


def test_foreign_classifier_is_checked_and_served(tmp_path):
    _, folder = bring(tmp_path, softmax(), OutputSchema("classification", ("no", "yes")))
    outputs = Engine.load(folder).score_columns(SAMPLES, 4)
    assert outputs.labels.tolist() == ["no", "no", "no", "yes"]


def test_foreign_regression_with_a_flat_output_is_served(tmp_path):
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    axes = onnx.numpy_helper.from_array(np.asarray([1], np.int64), "axes")
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    _, folder = bring(
        tmp_path, foreign([node], [out], constants=[axes]), OutputSchema("regression")
    )
    outputs = Engine.load(folder).score_columns(SAMPLES, 4)
    assert [outputs.row(place) for place in range(4)] == [(1.0,), (3.0,), (3.0,), (0.0,)]


def test_foreign_scores_that_are_no_probabilities_are_refused(tmp_path):
    out = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    model = foreign([helper.make_node("Relu", ["x"], ["p"])], [out])
    with pytest.raises(ForeignModelError, match="do not add up to one"):
        bring(tmp_path, model, OutputSchema("classification", ("no", "yes")))


def test_foreign_answer_that_is_not_finite_is_refused_with_its_row(tmp_path):
    out = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    model = foreign([helper.make_node("Log", ["x"], ["p"])], [out])
    with pytest.raises(ForeignModelError, match="NaN or infinity") as caught:
        bring(tmp_path, model, OutputSchema("classification", ("no", "yes")))
    assert caught.value.at == "row 0"


def test_foreign_model_of_another_width_is_refused(tmp_path):
    out = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 3])
    model = foreign([helper.make_node("Softmax", ["x"], ["p"], axis=1)], [out], width=3)
    with pytest.raises(ForeignModelError, match="expected 2 columns"):
        bring(tmp_path, model, OutputSchema("classification", ("a", "b", "c")))


def test_model_that_needs_an_operator_the_runtime_lacks_is_refused(tmp_path):
    out = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph(
        [helper.make_node("Transmogrify", ["x"], ["p"], domain="com.example")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [out],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    )
    model.ir_version = 9
    with pytest.raises(AppError, match="Transmogrify") as caught:
        bring(tmp_path, model.SerializeToString(), OutputSchema("classification", ("no", "yes")))
    assert caught.value.code == "model.runtime"


def test_bytes_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(AppError, match="the runtime refuses the model"):
        bring(tmp_path, b"not a model", OutputSchema("regression"))
