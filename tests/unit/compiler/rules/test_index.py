"""The bitmask index: chosen when it pays, bounded in memory, exact where values are strange."""

import math
import random
from types import SimpleNamespace

import pytest

from compiler.rules import emit_scalar, engine
from compiler.rules.index import plan
from compiler.rules.index.boxes import boxes_of
from compiler.rules.index.masks import Cells, masks_of
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature, OutputSchema

FLOATS = {f"f{i}": Feature(type="float", nullable=i % 2 == 1) for i in range(8)}


def table(conditions, **more):
    rules = [
        {"id": f"r{i}", "antecedent": found, "consequent": {"type": "model", "model": f"m{i}"}}
        for i, found in enumerate(conditions)
    ]
    default = {"type": "reject", "reason": "none"}
    return {
        "$schema": "interlock/rules/v1",
        "conditions": rules,
        "defaultConsequent": default,
    } | more


def between(name, low, high):
    return {"field": name, "operator": "between", "value": [low, high]}


def every(*parts):
    return {"combinator": "and", "rules": list(parts)}


def ranges(count, seed=5, per_rule=3):
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        names = draw.sample(sorted(FLOATS), per_rule)
        starts = [draw.randrange(100) for _ in names]
        found.append(
            every(*(between(name, low, low + 20) for name, low in zip(names, starts, strict=True)))
        )
    return found


def rows(count, seed=9):
    draw = random.Random(seed)
    pool = [None, math.nan, math.inf, -math.inf, True, "5", 7, 2**70]
    for _ in range(count):
        row = {name: float(draw.randrange(-1, 121)) for name in FLOATS}
        if draw.random() < 0.3:
            row[draw.choice(sorted(FLOATS))] = draw.choice(pool)
        if draw.random() < 0.1:
            del row[draw.choice(sorted(FLOATS))]
        yield row


def is_index(source):
    return "bit_length" in source


def test_large_table_of_ranges_gets_an_index_and_a_small_table_a_chain():
    assert is_index(compile_rules(table(ranges(300)), features=FLOATS).source)
    assert not is_index(compile_rules(table(ranges(3)), features=FLOATS).source)


def test_table_whose_tests_no_index_stands_for_stays_a_chain():
    parts = [
        {
            "lhs": {"op": "+", "args": [{"field": "f0"}, {"field": "f2"}]},
            "operator": ">",
            "value": i,
        }
        for i in range(200)
    ]
    rules = compile_rules(table(parts), features=FLOATS)
    assert not is_index(rules.source)
    assert not rules.target.plan().names
    row = dict.fromkeys(FLOATS, 50.25)
    assert rules.scalar("dict", engine="index")(row, None, 0) == rules.reference(row)[0]


@pytest.mark.parametrize("on_unknown", ["fallthrough", "error", {"consequent": {"type": "reject"}}])
@pytest.mark.parametrize("block", [None, 7])
def test_index_equals_reference_on_strange_values(on_unknown, block, monkeypatch):
    if block:
        monkeypatch.setattr(plan, "BLOCKS", (block,))
    rules = compile_rules(table(ranges(40), onUnknown=on_unknown), features=FLOATS)
    route = rules.scalar("dict", engine="index")
    struct = rules.scalar("struct", engine="index")
    for row in rows(400):
        expected = rules.reference(row)[0]
        assert route(row, None, 0) == expected
        if all(name in row and (row[name] is None or type(row[name]) is float) for name in FLOATS):
            assert struct(SimpleNamespace(**row), None, 0) == expected


def test_long_chain_in_parts_equals_reference(monkeypatch):
    monkeypatch.setattr(emit_scalar, "MAX_TESTS", 10)
    rules = compile_rules(table(ranges(40)), features=FLOATS)
    source = engine.scalar_source(rules.target, "dict", "chain")
    assert len(source.parts) > 5
    route = rules.scalar("dict", engine="chain")
    assert all(route(row, None, 0) == rules.reference(row)[0] for row in rows(200))


def test_mixed_table_settles_what_is_left_over_rule_by_rule():
    features = FLOATS | {"name": Feature(type="string"), "channel": Feature(type="string")}
    odd = {"field": "name", "operator": "beginsWith", "value": "x"}
    same = {"field": "name", "operator": "=", "value": "channel", "valueSource": "field"}
    mixed = [every(part, odd if i % 3 else same) for i, part in enumerate(ranges(60))]
    either = {"combinator": "or", "rules": [odd, between("f0", 1, 2), between("f2", 1, 2)]}
    nested = {
        "id": "nest",
        "antecedent": between("f2", 0, 60),
        "consequent": {
            "type": "rules",
            "conditions": table(ranges(50, seed=2))["conditions"],
            "defaultConsequent": {"type": "reject", "reason": "inner"},
        },
    }
    document = table([*mixed, either])
    document["conditions"].insert(40, nested)
    rules = compile_rules(document, features=features)
    route = rules.scalar("dict", engine="index")
    deciding = set()
    for number, row in enumerate(rows(600)):
        row |= {"name": ("x", "y", "xy")[number % 3], "channel": ("y", "z")[number % 2]}
        deciding.add(rules.ids[rules.reference(row)[0]])
        assert route(row, None, 0) == rules.reference(row)[0]
    assert len(deciding) > 10
    assert "nest/default" in deciding


def test_decision_table_is_indexed_over_outputs():
    output = OutputSchema(task="classification", classes=("bad", "good"))
    rules_ = [
        {
            "id": f"d{i}",
            "antecedent": every(
                between("output.probability.bad", i / 100, i / 100 + 0.005),
                {"field": "output.label", "operator": "=", "value": ("bad", "good")[i % 2]},
            ),
            "consequent": {"type": "decision", "decision": f"w{i}"},
        }
        for i in range(90)
    ]
    document = {
        "$schema": "interlock/rules/v1",
        "kind": "decision",
        "conditions": rules_,
        "defaultConsequent": {"type": "decision", "decision": "refer"},
    }
    rules = compile_rules(document, features=FLOATS, output=output, kind="decision")
    assert is_index(rules.source)
    struct = SimpleNamespace(**dict.fromkeys(FLOATS, 1.0))
    for share in [i / 400 for i in range(401)] + [math.nan, math.inf]:
        for label in ("bad", "good"):
            out = (label, (share, 1 - share))
            expected = rules.reference(rules.row_of(struct, None, out))[0]
            assert rules.scalar("struct")(struct, None, 0, out) == expected
            assert rules.scalar("struct", engine="chain")(struct, None, 0, out) == expected
            assert rules.unknowns(struct, None, 0, out) == ()


def test_masks_grow_with_the_cuts_and_stay_within_their_bytes():
    small, large = (
        compile_rules(table(ranges(count, per_rule=8)), features=FLOATS).target.plan()
        for count in (500, 4000)
    )
    for found, count in ((small, 500), (large, 4000)):
        assert sum(map(len, found.blocks)) == count
        size = 0
        for block in found.blocks:
            for name in found.names:
                cells = masks_of(name, FLOATS[name], list(block))
                assert isinstance(cells, Cells)
                assert len(cells.cuts) <= 2 * len(block) + 1
                size += sum(mask.bit_length() // 8 + 40 for mask in cells.masks if mask)
        assert size <= plan.MAX_BYTES


def test_endless_list_is_left_to_a_hash_set():
    many = {"field": "f0", "operator": "in", "value": [i / 8 for i in range(5000)]}
    rules = compile_rules(table([many, *ranges(20)]), features=FLOATS)
    box = boxes_of(rules.target.flat.cascade, FLOATS, fallthrough=True)[0]
    assert not box.sides
    assert len(box.rest) == 1


def test_smallest_and_largest_numbers_fall_into_their_cells():
    features = {"n": Feature(type="int", nullable=True), "x": Feature(type="float", nullable=True)}
    edges = [-(2**63), -(2**53) - 1, -1, 0, 2**53, 2**53 + 1, 2**63 - 1]
    reals = [-1.7976931348623157e308, -5e-324, -0.0, 5e-324, 1.7976931348623157e308]
    tests = [
        {"field": name, "operator": op, "value": value}
        for name, values in (("n", edges), ("x", reals))
        for value in values
        for op in ("=", "<", ">=")
    ]
    for order in (tests, tests[::-1]):
        rules = compile_rules(table(order), features=features)
        route = rules.scalar("dict", engine="index")
        near = [
            *edges, *(edge + step for edge in edges for step in (-1, 1)), *reals, 0.0, math.inf,
            -math.inf, math.nan, *(math.nextafter(real, to) for real in reals for to in (-1, 1)),
            None, True, "1", 2**64, -(2**64), 1e300,
        ]  # fmt: skip
        for n in near:
            for x in (n, 0.5):
                row = {"n": n, "x": x}
                assert route(row, None, 0) == rules.reference(row)[0], row


def test_names_and_texts_of_a_table_cannot_become_code():
    text = '\'); import os; os.abort() #\\\n"""'
    features = {"import": Feature(type="string"), "__class__": Feature(type="string")}
    found = [
        every(
            {"field": "import", "operator": op, "value": text},
            {"field": "__class__", "operator": "in", "value": [text, "{0}"]},
        )
        for op in ("=", "contains", "beginsWith", "!=")
    ]
    for each in ("chain", "index"):
        rules = compile_rules(table(found * 1), features=features)
        row = {"import": text, "__class__": "{0}"}
        assert rules.ids[rules.scalar("dict", engine=each)(row, None, 0)] == "r0"
        assert rules.explain(row).rule == "r0"
        source = engine.scalar_source(rules.target, "struct", each).text
        outside = [line for line in source.splitlines() if "os.abort" in line]
        assert all(repr(text) in line for line in outside)
