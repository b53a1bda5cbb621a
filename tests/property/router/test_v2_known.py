"""A request that looks like one before it means what the general way says it means."""

import struct
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import AppError
from compiler.schema import Feature, OutputSchema
from router.arms import Arm
from router.release.spec import ReleaseContent
from router.wire import v2
from router.wire.v2_answer import choose_outputs, encode_answer
from router.wire.v2_known import Known
from router.wire.v2_shapes import v2_plan

FEATURES = {
    "n": Feature("int"),
    "x": Feature("float"),
    "y%": Feature("float32"),
    "b": Feature("bool"),
    "s": Feature("string"),
    "e": Feature("enum", values=("a", "ä ö", "")),
}
CONTENT = ReleaseContent("e", 3, FEATURES, OutputSchema("regression"), {}, (), decision_table={})
PLAN = v2_plan(CONTENT)
KIND = {"int": "INT64", "float": "FP64", "float32": "FP32", "bool": "BOOL"}
PACKING = {"INT64": "<q", "FP64": "<d", "FP32": "<f", "BOOL": "<?"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-(1 << 63), (1 << 63) - 1),
    "x": st.floats(),
    "y%": st.floats(width=32),
    "b": st.booleans(),
    "s": st.text(max_size=8),
    "e": st.sampled_from(FEATURES["e"].values) | st.text(max_size=3),
}
FRAMES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=4),
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "subject": st.text(max_size=4),
                "timeout": st.integers(-1, 10**7),
                "binary_data_output": st.booleans(),
                "inputs": st.just("x"),
            },
        ),
        "outputs": st.lists(
            st.sampled_from(["value", "decision", "id", "no"]).map(lambda name: {"name": name}),
            max_size=3,
        ),
    },
)
Request = tuple[bytes, int | None]


def encode(frame: dict[str, Any], row: dict[str, Any], *, binary: bool, spaced: bool) -> Request:
    tensors, tail = [], b""
    for name, value in row.items():
        kind = KIND.get(FEATURES[name].type, "BYTES")
        tensor: dict[str, Any] = {"name": name, "shape": [1], "datatype": kind}
        if binary:
            word = value.encode() if kind == "BYTES" else b""
            raw = (
                struct.pack("<I", len(word)) + word
                if kind == "BYTES"
                else struct.pack(PACKING[kind], value)
            )
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            tensor["data"] = [value]
        tensors.append(tensor)
    header = msgspec.json.encode({**frame, "inputs": tensors})
    if spaced:
        header = msgspec.json.format(header, indent=1)
    return header + tail, len(header) if binary else None


def general(request: Request) -> Any:
    """Row and answer as the general way gives them; the problem when it refuses."""
    body, size = request
    try:
        call, tail = v2.split_body(body, size, PLAN)
        chosen = choose_outputs(call, PLAN)
        rows = v2.read_rows(call, tail, PLAN, 100, v2.shared_row(call.parameters))
    except AppError as error:
        return error.code
    if len(rows) != 1:
        return "count"
    if call.id:
        rows[0].id = str(call.id)
    return rows[0], call, chosen


SETTLED = (b"0" * 16, Arm("r", model="m", version=1), (0.5,), b"{}", "yes", "d", b"")


def learn(known: Known, request: Request) -> None:
    found = general(request)
    if not isinstance(found, str):
        for _ in range(2):
            known.learn(*request, found[1], found[0])


def check(known: Known, request: Request) -> bool:
    """Whether the request was known; then it is what the general way makes of it."""
    found = known.find(*request)
    if found is None:
        return False
    row, frame = found
    expected = general(request)
    assert not isinstance(expected, str)
    plain, call, chosen = expected
    features = bytes(row.features)
    assert msgspec.json.decode(features) == msgspec.json.decode(plain.features)
    row.features = plain.features
    assert row == plain
    assert frame.write(SETTLED) == encode_answer(call, CONTENT, chosen, [SETTLED])
    return True


ROWS = st.lists(st.sampled_from(list(FEATURES)), min_size=1, unique=True).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries({name: VALUES[name] for name in names}), min_size=2, max_size=4
    )
)


@given(ROWS, st.lists(FRAMES, min_size=2, max_size=3), st.booleans(), st.booleans())
def test_known_requests_mean_what_they_say(
    rows: list[dict[str, Any]], frames: list[dict[str, Any]], binary: bool, spaced: bool
) -> None:
    known = Known(CONTENT, PLAN)
    for frame in frames:
        for row in rows:
            request = encode(frame, row, binary=binary, spaced=spaced)
            check(known, request)
            learn(known, request)


@given(ROWS, FRAMES, st.booleans(), st.data())
def test_damaged_requests_are_not_taken_for_known_ones(
    rows: list[dict[str, Any]], frame: dict[str, Any], binary: bool, data: st.DataObject
) -> None:
    known = Known(CONTENT, PLAN)
    for row in rows:
        learn(known, encode(frame, row, binary=binary, spaced=False))
    body, size = encode(frame, rows[0], binary=binary, spaced=False)
    pieces = [
        b"",
        b"\x00",
        b'"',
        b"[",
        b"]",
        b"}",
        b",",
        b"1",
        b"\\",
        b"\xff",
        b' "data":[1]',
        b"e",
    ]
    for _ in range(4):
        at = data.draw(st.integers(0, len(body)))
        cut = data.draw(st.integers(0, 3))
        body = body[:at] + data.draw(st.sampled_from(pieces)) + body[at + cut :]
    if size is not None:
        size = max(size + data.draw(st.integers(-3, 3)), 1)
    check(known, (body, size))


@given(st.booleans(), st.booleans())
def test_plain_requests_are_known_the_third_time(binary: bool, spaced: bool) -> None:
    known = Known(CONTENT, PLAN)
    row = {"n": 3, "x": 0.5, "y%": 2.0, "b": True, "s": "one", "e": "a"}
    learn(known, encode({}, row, binary=binary, spaced=spaced))
    again = {"n": -7, "x": 1e300, "y%": -0.25, "b": False, "s": "another", "e": "ä ö"}
    frame = {"id": "7", "parameters": {"subject": "s"}, "outputs": [{"name": "decision"}]}
    assert check(known, encode(frame, again, binary=binary, spaced=spaced))


def test_parameters_named_like_data_are_not_learned() -> None:
    tensor = b'{"name":"n","shape":[1],"datatype":"INT64","parameters":{"data":[%d]},"data":[[5]]}'
    known = Known(CONTENT, PLAN)
    for value in (5, 5, 6):
        request = b'{"inputs":[' + tensor % value + b"]}", None
        assert known.find(*request) is None
        learn(known, request)


def test_inputs_that_come_twice_are_for_the_general_way() -> None:
    known = Known(CONTENT, PLAN)
    plain = b'{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[5]}]%b}'
    learn(known, (plain % b"", None))
    assert known.find(plain % b"", None) is not None
    twice = plain % b',"inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[6]}]'
    assert not check(known, (twice, None))


def test_known_request_with_a_word_that_no_enum_has_is_known_and_learned_no_more() -> None:
    known = Known(CONTENT, PLAN)
    learn(known, encode({}, {"e": "a", "s": "x"}, binary=True, spaced=False))
    other = encode({}, {"e": "other", "s": "x" * 300}, binary=True, spaced=False)
    assert check(known, other)
    large = encode({}, {"e": "a", "s": "x" * 5000}, binary=True, spaced=False)
    for _ in range(3):
        assert not check(known, large)
        learn(known, large)
    assert known._learned == 1


def test_room_for_templates_is_bounded() -> None:
    known = Known(CONTENT, PLAN)
    for number in range(300):
        names = f'"p{number}":1'.encode()
        body = (
            b'{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","parameters":{%b},"data":[5]}]}'
            % names
        )
        learn(known, (body, None))
    assert len(known._fills) <= 64
    assert len(known._tried) <= 256


def test_templates_of_many_binary_clients_are_kept_up_to_a_number_and_made_up_to_another() -> None:
    known = Known(CONTENT, PLAN)
    tensor = b'{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","parameters":{"p%d":1,'
    size = b'"binary_data_size":8}}]}'

    def client(number: int) -> Request:
        header = tensor % number + size
        return header + struct.pack("<q", number), len(header)

    for number in range(300):
        learn(known, client(number))
        assert (known.find(*client(number)) is not None) is (number < 256)
    assert len(known._binary) == 32
    assert sum(check(known, client(number)) for number in range(300)) == 32
