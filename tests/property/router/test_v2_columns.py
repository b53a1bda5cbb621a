"""A request of many rows, read by columns, holds what the way of single rows reads."""

import math
import struct
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import event, given
from hypothesis import strategies as st

from compiler.errors import AppError
from compiler.schema import Feature, OutputSchema
from router.release.spec import ReleaseContent
from router.wire import v2
from router.wire.v2_columns import read_columns
from router.wire.v2_shapes import ACCEPTED, INTEGERS, v2_plan
from router.wire.v2_tensor import NUMPY

FEATURES = {
    "n": Feature("int"),
    "x": Feature("float"),
    "y": Feature("float32"),
    "b": Feature("bool"),
    "s": Feature("string"),
    "e": Feature("enum", values=("a", "ä ö", "")),
    "d": Feature("date"),
    "m": Feature("decimal"),
    "context.c": Feature("string"),
    "context.k": Feature("int"),
    "context.f": Feature("float"),
}
CONTENT = ReleaseContent("e", 3, FEATURES, OutputSchema("regression"), {}, ())
PLAN = v2_plan(CONTENT)
NUMERIC = {name: FEATURES[name] for name in ("n", "x", "y")}
MATRIX = v2_plan(ReleaseContent("e", 3, NUMERIC, OutputSchema("regression"), {}, ()))
TEXTS = (
    st.sampled_from(["a", "A11", "A410", "2024-02-29"]) | st.text(max_size=5) | st.just("z" * 300)
)
FLOATS = st.floats() | st.integers(-9, 9).map(float) | st.sampled_from([2.0**63, -(2.0**63), 0.1])
JSON_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BYTES": TEXTS,
    "BOOL": st.booleans(),
    "FP32": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 1 << 70),
    "FP64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 1 << 70),
    "INT64": st.integers(-(1 << 64), 1 << 64) | st.integers(-9, 9),
}
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.text(max_size=4),
        "split_id": st.text(max_size=4),
        "context.c": st.text(max_size=3) | st.integers(0, 3) | st.none(),
        "context.k": st.integers(-9, 9) | st.floats(allow_nan=False) | st.booleans(),
        "context.f": st.integers(-9, 9) | st.floats(allow_nan=False),
        "context.unknown": st.just(1),
        "other": st.just("x"),
    },
)


def binary_values(datatype: str, count: int) -> st.SearchStrategy[bytes]:
    if datatype == "BYTES":
        texts = st.lists(TEXTS, min_size=count, max_size=count)
        return texts.map(lambda each: b"".join(map(packed, each)))
    if datatype in INTEGERS:
        info = np.iinfo(NUMPY[datatype])
        numbers: Any = st.integers(int(info.min), int(info.max)) | st.integers(0, 9)
    elif datatype == "BOOL":
        numbers = st.booleans()
    else:
        numbers = FLOATS
    whole = st.lists(numbers, min_size=count, max_size=count)
    return whole.map(lambda each: as_bytes(datatype, each))


def as_bytes(datatype: str, values: list[Any]) -> bytes:
    with np.errstate(over="ignore"):
        return np.array(values, NUMPY[datatype]).tobytes()


def packed(text: str) -> bytes:
    word = text.encode()
    return struct.pack("<I", len(word)) + word


@st.composite
def requests(draw: st.DrawFn, *, features: Any = FEATURES) -> tuple[bytes, bytes]:
    """JSON part and binary data of a request, mostly sound."""
    count = draw(st.integers(1, 6))
    names = [name for name in features if not name.startswith("context.")]
    tensors, tail = [], b""
    chosen = draw(st.lists(st.sampled_from([*names, "_subject"]), min_size=1, unique=True))
    for name in chosen:
        kinds = ["BYTES"] if name == "_subject" else sorted(ACCEPTED[features[name].type])
        datatype = draw(st.sampled_from(kinds))
        shape = [count, 1] if draw(st.booleans()) else [count]
        tensor: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
        if datatype in JSON_VALUES and draw(st.booleans()):
            values = JSON_VALUES[datatype]
            some = st.lists(values | st.none() if draw(st.booleans()) else values,
                            min_size=count, max_size=count)  # fmt: skip
            tensor["data"] = draw(some)
        else:
            raw = draw(binary_values(datatype, count))
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        tensors.append(tensor)
    call = {"inputs": tensors, "parameters": draw(PARAMETERS)}
    return msgspec.json.encode(call), tail


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other


def check(header: bytes, tail: bytes, plan: Any = PLAN, features: Any = FEATURES) -> bool:
    """Whether the request was read by columns; then rows read the same."""
    call = v2.decode_request(header)
    try:
        shared = v2.shared_row(call.parameters)
    except AppError:
        return False
    batch = read_columns(call, tail, plan, features, shared)
    if batch is None:
        return False
    assert isinstance(batch, pa.RecordBatch)
    rows = v2.read_rows(call, tail, plan, 100, shared)
    assert len(rows) == batch.num_rows
    for row, values in zip(rows, batch.to_pylist(), strict=True):
        assert values.pop("_subject", None) == row.subject
        assert values.pop("_split_id", None) == row.split_id
        context = {} if row.context is msgspec.UNSET else msgspec.json.decode(row.context)
        for name, value in context.items():
            assert same(values.pop("_context." + name), value)
        expected = msgspec.json.decode(row.features)
        assert values.keys() == expected.keys()
        for name, value in expected.items():
            assert same(values[name], float(value) if is_real(features[name], value) else value)
            assert type(values[name]) in {type(None), bool, int, float, str}
    return True


def is_real(feature: Feature, value: Any) -> bool:
    return feature.type in {"float", "float32"} and value is not None


@given(requests())
def test_columns_hold_what_rows_hold(request: tuple[bytes, bytes]) -> None:
    event("by columns" if check(*request) else "by rows")


@given(requests(features=NUMERIC), st.sampled_from(["FP32", "FP64", "INT32"]), st.data())
def test_matrix_holds_what_rows_hold(
    request: tuple[bytes, bytes], datatype: str, data: st.DataObject
) -> None:
    check(*request, MATRIX, NUMERIC)
    raw = data.draw(binary_values(datatype, 12))
    tensor = {
        "name": "input", "shape": [4, 3], "datatype": datatype,
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    whole = np.frombuffer(raw, NUMPY[datatype])
    plain = bool(np.isfinite(whole).all() and (whole == np.trunc(whole)).all())
    read = check(msgspec.json.encode({"inputs": [tensor]}), raw, MATRIX, NUMERIC)
    assert read or not plain or bool((np.abs(whole) >= 2.0**63).any())


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "n": st.integers(-(1 << 63), (1 << 63) - 1),
                "x": st.floats(allow_nan=False, allow_infinity=False),
                "b": st.booleans(),
                "s": st.text(max_size=8),
                "e": st.sampled_from(["a", "b"]),
            }
        ),
        min_size=1,
        max_size=8,
    )
)
def test_plain_requests_are_read_by_columns(rows: list[dict[str, Any]]) -> None:
    kinds = {"n": "INT64", "x": "FP64", "b": "BOOL", "s": "BYTES", "e": "BYTES"}
    tensors, tail = [], b""
    for name, kind in kinds.items():
        values = [row[name] for row in rows]
        raw = b"".join(map(packed, values)) if kind == "BYTES" else as_bytes(kind, values)
        tail += raw
        tensors.append(
            {
                "name": name,
                "shape": [len(rows)],
                "datatype": kind,
                "parameters": {"binary_data_size": len(raw)},
            }
        )
    assert check(msgspec.json.encode({"inputs": tensors}), tail)
    for tensor in tensors:
        del tensor["parameters"]
        tensor["data"] = [row[str(tensor["name"])] for row in rows]
    assert check(msgspec.json.encode({"inputs": tensors}), b"")


@given(st.lists(st.binary(max_size=6), max_size=6), st.integers(0, 7), st.binary(max_size=3))
def test_bytes_that_are_no_texts_are_left_to_rows(
    texts: list[bytes], count: int, behind: bytes
) -> None:
    raw = b"".join(struct.pack("<I", len(text)) + text for text in texts) + behind
    tensor = {
        "name": "s", "shape": [count], "datatype": "BYTES",
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    check(msgspec.json.encode({"inputs": [tensor]}), raw)
