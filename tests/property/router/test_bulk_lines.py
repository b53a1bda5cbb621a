"""Lines read by the block give what lines read one by one give, whatever stands in them."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.schema import Feature
from router.bulk import ndjson
from router.bulk.blocks import Reading
from router.bulk.csvrows import csv_blocks
from router.bulk.ndjson_fast import FastLines
from router.bulk.units import plan_units
from router.columnar.inputs import read_inputs
from router.endpoint import Endpoint
from router.release.build import _decoders
from router.release.spec import Policies

CHECKS = settings(
    max_examples=400,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FEATURES = {
    "amount": Feature("float", min=-1e6, max=1e6),
    "months": Feature("int", nullable=True),
    "known": Feature("bool", default=False),
    "purpose": Feature("string", nullable=True),
    "context.hour": Feature("int", nullable=True),
}
SOUND = {
    "amount": st.floats(-1e5, 1e5),
    "months": st.integers(-5, 500),
    "known": st.booleans(),
    "purpose": st.sampled_from(["car", "", "ü", "a b"]),
}
ODD = st.sampled_from(
    [None, "x", 1e400, 10**30, 2.0, -0.0, True, [], {}, "a\\b", "\t", '"', 5, "7", "x" * 600]
)
NAMES = st.sampled_from(["amount", "months", "known", "purpose", "other", "_id", "_subject"])
BROKEN = st.sampled_from(
    [b"[]", b"{", b'{"amount":1}{"amount":2}', b'{"amount":NaN}', b'{"amount":1,"amount":2}',
     b"5", b'{"purpose":"\xff","amount":1}', b'{"amount":1} ', b'{"amount":1e999}',
     b'{"amount":1}x', b'{"amount":01}']
)  # fmt: skip


def endpoint(*, context: bool) -> SimpleNamespace:
    """What readers need of an endpoint."""
    features = {n: f for n, f in FEATURES.items() if context or "." not in n}
    content = SimpleNamespace(features=features)
    found = SimpleNamespace(
        content=content, policies=Policies(), plain=_decoders(features, context=False),
        context=_decoders(features, context=True),
    )  # fmt: skip
    found._slow = lambda raw, *, context: Endpoint._slow(found, raw, context=context)
    found.decode_slow = lambda row: Endpoint.decode_slow(found, row)
    return found


@st.composite
def drawn_lines(draw):
    """Mostly sound rows, with one odd member or a broken line here and there."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        row = {name: draw(each) for name, each in SOUND.items()}
        row["case"] = f"c{number}"
        for name in draw(st.sets(st.sampled_from(sorted(SOUND)), max_size=1)):
            del row[name]
        odd = draw(st.integers(0, 9))
        if odd == 0:
            row[draw(NAMES)] = draw(ODD)
        found.append(draw(BROKEN) if odd == 1 else row)
    return found


def read(path, known, keys):
    units = plan_units(path, "ndjson", 0, 1000)
    (block,) = ndjson.ndjson_blocks(path, units, Reading(known, keys, 1000))
    return block


def encoded(row, *, nested):
    """A row as a line of one of both shapes."""
    if isinstance(row, bytes):
        return b'{"features":' + row + b"}" if nested else row
    if not nested:
        return msgspec.json.encode(row)
    outer = {"case": row["case"]}
    for name in ("id", "subject"):
        if "_" + name in row:
            outer[name] = row["_" + name]
    inner = {name: value for name, value in row.items() if name[0] != "_" and name != "case"}
    return msgspec.json.encode({"features": inner, **outer})


def outcomes(block, known):
    """For every row its values, or the code of what is wrong with it."""
    problems = read_inputs(block.batch, known.content.features).problems
    sound = iter(zip(block.batch.to_pylist(), problems, strict=True))
    found = []
    for place in range(block.rows):
        if place in block.bad:
            found.append(block.bad[place].code)
            continue
        values, problem = next(sound)
        if problem is not None:
            found.append(problem.partition(":")[0])
            continue
        values["known"] = bool(values["known"])  # the default, which columns apply later
        found.append({name: value for name, value in values.items() if value is not None})
    return found


@CHECKS
@given(rows=drawn_lines(), nested=st.booleans(), context=st.booleans())
def test_blocks_of_lines_equal_lines_one_by_one(tmp_path, rows, nested, context):
    known = endpoint(context=context)
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\n".join(encoded(row, nested=nested) for row in rows))
    fast = read(path, known, ("case",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastLines, "read", lambda *_: None)
        slow = read(path, known, ("case",))
    assert outcomes(fast, known) == outcomes(slow, known)
    assert fast.keys.to_pylist() == slow.keys.to_pylist()


def test_sound_lines_take_the_short_way_in_both_shapes():
    rows = [dict(zip(SOUND, (1.5, 3, True, "car"), strict=True))] * 3
    flat = [msgspec.json.encode({**row, "case": n}) for n, row in enumerate(rows)]
    nested = [msgspec.json.encode({"features": row, "subject": "s"}) for row in rows]
    known = endpoint(context=False)
    taken = FastLines(known, ("case",), flat=True).read(flat)
    assert taken is not None
    assert taken[1].column("case").to_pylist() == ["0", "1", "2"]
    assert FastLines(known, (), flat=False).read(nested) is not None


@CHECKS
@given(
    rows=st.lists(
        st.tuples(
            st.floats(-1e5, 1e5) | st.sampled_from(["", "x", "nan", "1e5", " 2.5 ", "inf"]),
            st.integers(-5, 5) | st.sampled_from(["", "2.5", "+3", "9" * 30]),
            st.sampled_from(["true", "false", "", "1", "TRUE", "yes"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_cells_of_csv_mean_what_they_mean_to_a_stream(tmp_path, rows):
    from router.bulk.text import take_slowly
    from router.wire.csv_rows import CsvReader

    known = endpoint(context=False)
    path = tmp_path / "rows.csv"
    header = b"amount,months,known,case"
    lines = [",".join(map(str, row)).encode() + b",k" for row in rows]
    path.write_bytes(b"\n".join([header, *lines]))
    units = plan_units(path, "csv", 0, 1000)
    (block,) = csv_blocks(path, units, Reading(known, ("case",), 1000))
    stream = CsvReader(header, SimpleNamespace(features=known.content.features))
    sound = block.batch.to_pylist()
    for place, line in enumerate(lines):
        item = stream.row(line)
        members = msgspec.json.decode(item.features)
        members.pop("case")
        item.features = msgspec.Raw(msgspec.json.encode(members))
        expected = take_slowly(known, item)
        if isinstance(expected, dict):
            row = sound.pop(0)
            assert (row["amount"], row["months"], bool(row["known"])) == (
                expected["amount"], expected["months"], expected["known"],
            )  # fmt: skip
        elif place in block.bad:
            assert block.bad[place].code == expected.code
        else:
            row = sound.pop(0)  # one that the columns refuse: missing, or out of its range
            assert expected.code in ("features.missing", "features.range")
    assert not sound
