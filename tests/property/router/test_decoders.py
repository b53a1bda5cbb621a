"""Whatever comes, the decoders answer with rows or with a problem of ours."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import AppError
from compiler.schema import Feature, OutputSchema
from router.head import read_head
from router.release.spec import ReleaseContent
from router.wire.csv_rows import CsvReader, split_line
from router.wire.native import decode_rows
from router.wire.v2 import decode_request, read_rows, shared_row, split_body
from router.wire.v2_shapes import V2Plan, v2_plan

CONTENT = ReleaseContent(
    "e",
    1,
    {"a": Feature("int"), "b": Feature("float"), "s": Feature("string"), "f": Feature("bool")},
    OutputSchema("regression"),
    {},
    (),
)
PLAN = v2_plan(CONTENT)
NUMERIC = v2_plan(
    ReleaseContent(
        "e", 1, {"a": Feature("int"), "b": Feature("float")}, OutputSchema("regression"), {}, ()
    )
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "s", "f", "x", "_subject"]),
        "shape": st.lists(st.integers(-2, 4), max_size=3),
        "datatype": st.sampled_from(["INT64", "FP32", "FP64", "BYTES", "BOOL", "FP16", "X"]),
    },
    optional={
        "data": JSON,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "x"]), st.integers(-5, 40) | st.none()
        ),
    },
)
CALL = st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=4)}, optional={"id": JSON})


def code_of(work: Callable[[], object]) -> str:
    """Problem code of some work; ``body.`` when it succeeds. Any other error is a failed test."""
    try:
        work()
    except AppError as error:
        return error.code
    return "body."


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_rows_or_a_problem(body: bytes) -> None:
    assert code_of(lambda: decode_rows(body, 10)).startswith("body.")


@settings(max_examples=300)
@given(CALL, st.binary(max_size=60), st.sampled_from([PLAN, NUMERIC]))
def test_any_tensors_are_rows_or_a_problem(call: dict, tail: bytes, plan: V2Plan) -> None:
    raw = json.dumps(call).encode()
    rows: list[Any] = []

    def read() -> None:
        found, rest = split_body(raw + tail, len(raw), plan)
        rows.extend(read_rows(found, rest, plan, 100, shared_row(found.parameters)))

    assert code_of(read).startswith("body.")
    for row in rows:
        assert isinstance(json.loads(bytes(row.features)), dict)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_request_or_a_problem(raw: bytes) -> None:
    assert code_of(lambda: decode_request(raw)).startswith("body.")


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_line_is_a_row_or_a_problem(header: bytes, line: bytes) -> None:
    rows: list[Any] = []
    code = code_of(lambda: rows.append(CsvReader(header, CONTENT).row(line)))
    assert code in {"body.", "body.csv"}
    for found in rows:
        if isinstance(found, AppError):
            assert found.code.startswith("body.")
        else:
            assert isinstance(json.loads(bytes(found.features)), dict)


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\r\n")), min_size=1))
def test_cells_come_back_from_their_line(cells: list[str | None]) -> None:
    line = ",".join("" if c is None else '"' + c.replace('"', '""') + '"' for c in cells)
    assert split_line(line) == cells


@given(
    st.binary(max_size=20),
    st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"authorization", b"content-length", b"transfer-encoding", b"host", b"traceparent",
                 b"content-encoding", b"inference-header-content-length", b"idempotency-key"]
            ),
            st.binary(max_size=30),
        ),
        max_size=6,
    ),
)  # fmt: skip
def test_any_head_is_read(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    head = read_head(method, target, headers)
    assert head.route is not None
    assert head.size >= 0
