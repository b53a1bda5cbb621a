"""The short way of one row gives what the general way gives, byte for byte."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import AppError
from compiler.schema import Feature, OutputSchema
from router.arms import Arm
from router.release.spec import ReleaseContent
from router.wire import v2
from router.wire.v2_answer import choose_outputs, encode_answer, encode_general, one_writer
from router.wire.v2_shapes import v2_plan
from router.wire.v2_single import single_row

FEATURES = {
    "n": Feature("int"),
    "x": Feature("float"),
    "y": Feature("float32"),
    "b": Feature("bool"),
    "s": Feature("string"),
    "e": Feature("enum", values=("a", 'quo"te', "ä ö", "")),
    "d": Feature("decimal", scale=2),
}
TASKS = {
    "classification": OutputSchema("classification", ("good", 'b"ad')),
    "regression": OutputSchema("regression"),
    "clustering": OutputSchema("clustering"),
}
OUTS = {
    "classification": st.tuples(
        st.sampled_from(["good", 'b"ad']),
        st.tuples(*[st.floats(0, 1, width=32)] * 2),
    ),
    "regression": st.tuples(st.floats(allow_infinity=False, width=32)),
    "clustering": st.tuples(st.integers(0, 9), st.floats(0, 1e6, width=32)),
}


def content_of(task: str) -> ReleaseContent:
    return ReleaseContent("e", 3, FEATURES, TASKS[task], {}, (), decision_table={})


PLAN = v2_plan(content_of("regression"))
PACKING = {"INT64": "<q", "INT32": "<i", "FP64": "<d", "FP32": "<f", "BOOL": "<?"}
WHOLE = st.integers(-(1 << 31), (1 << 31) - 1) | st.sampled_from([0, 1, -1, (1 << 31) - 1])
REAL = st.floats(width=32) | st.integers(-100, 100).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "INT64": WHOLE | st.integers(-(1 << 63), (1 << 63) - 1),
    "INT32": WHOLE,
    "FP64": REAL | st.floats(),
    "FP32": REAL,
    "BOOL": st.booleans(),
    "BYTES": st.sampled_from(FEATURES["e"].values) | st.text(max_size=6),
    "INT8": st.integers(-128, 127),
}


def packed(datatype: str, value: Any) -> bytes:
    if datatype == "BYTES":
        word = value.encode()
        return struct.pack("<I", len(word)) + word
    return struct.pack(PACKING.get(datatype, "<b"), value)


@st.composite
def calls(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request of one row, in JSON, in binary or both, with a mistake now and then."""
    tensors, tail = [], b""
    for name in draw(st.lists(st.sampled_from([*FEATURES, "no"]), min_size=1, max_size=8)):
        datatype = draw(st.sampled_from(list(VALUES)))
        value = draw(VALUES[datatype])
        tensor: dict[str, Any] = {
            "name": name,
            "shape": draw(st.sampled_from([[1], [1], [1, 1], [2], []])),
            "datatype": datatype,
        }
        if draw(st.booleans()):
            raw = packed(datatype, value)
            wrong = draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
            tensor["parameters"] = {"binary_data_size": len(raw) + wrong}
            tail += raw
        else:
            tensor["data"] = draw(st.sampled_from([[value], [[value]], value, [value, value]]))
        tensors.append(tensor)
    return msgspec.json.encode({"inputs": tensors}), tail + draw(st.sampled_from([b"", b"", b"x"]))


def general(head: bytes, tail: bytes) -> Any:
    """The row as the general way reads it; the problem code when it refuses."""
    call = v2.decode_request(head)
    try:
        columns, _, count = v2._columns(call, tail, PLAN)
    except AppError as error:
        return error.code
    if count != 1 or not columns:
        return "count"
    return {name: values[0] for name, values in columns.items()}


@given(calls())
def test_short_way_reads_what_the_general_way_reads(made: tuple[bytes, bytes]) -> None:
    head, tail = made
    call = v2.decode_request(head)
    row = single_row(call.inputs, tail, PLAN.columns, v2.shared_row(call.parameters))
    if row is None:
        return  # it is for the general way
    found = msgspec.json.decode(bytes(row.features))
    expected = general(head, tail)
    if isinstance(expected, str):
        # what the endpoint's decoder will refuse with words of its own, never a value that fits
        assert any(tensor.data is not msgspec.UNSET for tensor in call.inputs)
        return
    assert found == msgspec.json.decode(msgspec.json.encode(expected))
    assert list(found) == list(expected)


@given(
    st.lists(st.sampled_from(list(FEATURES)), min_size=1, unique=True),
    st.data(),
)
def test_plain_binary_rows_take_the_short_way(names: list[str], data: st.DataObject) -> None:
    tensors, tail = [], b""
    for name in names:
        column = PLAN.columns[name]
        value = data.draw(VALUES[column.datatype])
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            value = 0.5
        raw = packed(column.datatype, value)
        tail += raw
        given_size = {"binary_data_size": len(raw)}
        tensors.append(
            {"name": name, "shape": [1, 1], "datatype": column.datatype, "parameters": given_size}
        )
    call = v2.decode_request(msgspec.json.encode({"inputs": tensors}))
    row = single_row(call.inputs, tail, PLAN.columns, v2.shared_row(call.parameters))
    assert row is not None
    assert list(msgspec.json.decode(bytes(row.features))) == names


@pytest.mark.parametrize("task", list(TASKS))
@given(data=st.data())
def test_answer_of_one_row_is_the_general_answer(task: str, data: st.DataObject) -> None:
    content = content_of(task)
    plan = v2_plan(content)
    names = [each.name for each in (*plan.outputs, *plan.extra)]
    asked = data.draw(st.lists(st.sampled_from(names), unique=True))
    request: dict[str, Any] = {"inputs": [], "parameters": {}}
    request["parameters"]["binary_data_output"] = data.draw(st.booleans())
    request["outputs"] = [
        {"name": name, "parameters": {"binary_data": data.draw(st.booleans())}} for name in asked
    ]
    if data.draw(st.booleans()):
        request["id"] = data.draw(st.text(max_size=5))
    call = v2.decode_request(msgspec.json.encode(request))
    arm = st.builds(
        Arm,
        st.text(max_size=4),
        model=st.none() | st.text(max_size=4),
        version=st.none() | st.integers(1, 9),
        reason=st.none() | st.text(max_size=4),
        name=st.text(max_size=3),
    )
    arms = data.draw(st.lists(arm, min_size=1, max_size=2))
    word = st.none() | st.text(max_size=1)
    settled = st.tuples(
        st.binary(min_size=16, max_size=16),
        st.sampled_from(arms),
        st.none() | OUTS[task],
        st.just(b"{}"),
        word,
        word,
        st.just(b""),
    )
    chosen = choose_outputs(call, plan)
    write = one_writer(call, content, chosen)
    for one in data.draw(st.lists(settled, min_size=1, max_size=8)):
        expected = encode_general(call, content, chosen, [one])
        assert encode_answer(call, content, chosen, [one]) == expected
        assert write(one) == write(one) == expected
