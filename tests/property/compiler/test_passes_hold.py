"""Every rewrite keeps the value of a condition on every row, and its stated growth bound."""

import math

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules import ast, cost, reference, spans
from compiler.rules.flat import Cascade, Step, all_steps
from compiler.rules.index.boxes import MAX_BOXES, boxes_of, disjuncts
from compiler.rules.passes.absorb import absorb
from compiler.rules.passes.bare import bare
from compiler.rules.passes.dead import drop_dead
from compiler.rules.passes.flatten import flatten
from compiler.rules.passes.fold import fold
from compiler.rules.passes.negate import push_negation
from compiler.rules.passes.optimise import optimise_condition
from compiler.rules.passes.order import order_parts
from compiler.rules.passes.ranges import merge_ranges
from compiler.rules.passes.share import shared_parts
from compiler.rules.pipeline import compile_rules
from tests.strategies import (
    NOW_US,
    PLAIN,
    conditions,
    crowded,
    edge_rows,
    range_tables,
    repetitive,
    sound_rows,
    tables,
    wild_rows,
)

SETTINGS = settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
ROWS = st.lists(sound_rows() | wild_rows(), min_size=1, max_size=5)
PASSES = {
    "bare": bare,
    "negate": push_negation,
    "fold": fold,
    "flatten": flatten,
    "ranges": merge_ranges,
    "absorb": absorb,
    "order": order_parts,
    "optimise": optimise_condition,
}


def checked(condition):
    """A condition of the JSON form with names and literals resolved, as a table holds it."""
    document = {
        "$schema": "interlock/rules/v1",
        "conditions": [
            {"id": "r", "antecedent": condition, "consequent": {"type": "reject", "reason": "r"}}
        ],
        "defaultConsequent": {"type": "reject", "reason": "d"},
    }
    return compile_rules(document, features=PLAIN).table.rules[0].condition


def value(condition, row):
    return reference.truth(condition, reference.Reader(PLAIN, row, NOW_US))


def size(node):
    """Nodes of a condition, its operands and list members included."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
            return 1 + sum(map(size, parts))
        case ast.Not(of=part):
            return 1 + size(part)
        case ast.Arith(args=args):
            return 1 + sum(map(size, args))
        case ast.Compare(left=left, right=right) | ast.Distinct(left=left, right=right):
            return 1 + size(left) + size(right)
        case ast.In(values=values):
            return 2 + len(values)
        case ast.Between():
            return 4
    return 1


@pytest.mark.parametrize("name", PASSES)
@SETTINGS
@given(conditions(10) | crowded() | repetitive(), ROWS)
def test_pass_keeps_the_value_and_the_size(name, condition, rows):
    before = checked(condition)
    if name in ("ranges", "absorb", "order"):  # read what the passes before them leave
        before = flatten(fold(push_negation(bare(before))))
    after = PASSES[name](before)
    assert size(after) <= size(before)
    for row in rows + edge_rows(condition):
        assert value(after, row) is value(before, row), (before, after)


@SETTINGS
@given(conditions(10))
def test_passes_leave_no_negation_and_no_needless_group(condition):
    def walk(node, above=None):
        assert not isinstance(node, ast.Not)
        if isinstance(node, ast.And | ast.Or | ast.Xor):
            assert len(node.of) > 1
            assert type(node) is not above or isinstance(node, ast.Xor)
            for part in node.of:
                assert not isinstance(part, ast.Truth)
                walk(part, type(node))

    walk(optimise_condition(checked(condition)))


@SETTINGS
@given(conditions(10), ROWS)
def test_disjuncts_say_the_same_in_bounded_number(document, rows):
    condition = optimise_condition(checked(document))
    ways = disjuncts(condition)
    assert 1 <= len(ways) <= MAX_BOXES
    again = ast.Or(tuple(ast.And(way) for way in ways))
    rows += edge_rows(document)
    assert all(value(again, row) is value(condition, row) for row in rows)


@settings(SETTINGS, max_examples=20)
@given(range_tables(), ROWS, st.booleans())
def test_a_rule_that_may_decide_has_a_box_with_the_row_in_it(table, rows, fallthrough):
    rules = compile_rules(table, features=PLAIN)
    cascade = rules.target.flat.cascade
    boxes = boxes_of(cascade, PLAIN, fallthrough=fallthrough)
    for row in rows:
        reader = reference.Reader(PLAIN, row, NOW_US)
        for step in cascade.steps:
            truth = reference.truth(step.rule.condition, reader)
            decides = truth is True if fallthrough else truth is not False
            inside = any(box.step == step and _inside(box, reader) for box in boxes)
            assert inside or not decides
            exact = not any(box.rest for box in boxes if box.step == step)
            assert not (inside and exact and fallthrough) or decides


def _inside(box, reader):
    for name, side in box.sides.items():
        found = reader.field(name)
        if not (side.missing if found is None else member(side.values, found)):
            return False
    return True


def member(values, value):
    """Whether a set holds a value, mark by mark."""
    if isinstance(values, spans.Words):
        return values.inside != (value in values.other)
    passed = sum(value > cut or (value == cut and not after) for cut, after in values.marks)
    return values.inside != (passed % 2 == 1)


@SETTINGS
@given(tables(), st.booleans(), ROWS)
def test_rules_left_out_never_decide(table, fallthrough, rows):
    table = {**table, "onUnknown": "fallthrough" if fallthrough else "error"}
    rules = compile_rules(table, features=PLAIN)
    kept = {step.path for step in all_steps(rules.target.flat.cascade)}
    for row in rows:
        for seen in rules.explain(row, NOW_US).rules:
            decides = seen.value == "T" or (seen.value == "U" and not fallthrough)
            assert not decides or seen.rule in kept


def test_dead_rules_are_those_never_true_repeated_or_behind_an_always():
    low = ast.Compare(ast.Field("income"), "<", ast.Const(1.0))
    never = ast.Known(ast.Field("income"), False)
    conditions_ = [low, never, ast.Truth(False), low, ast.Truth(True), ast.Truth(True)]
    steps = tuple(
        Step(ast.Rule(f"r{i}", condition, ast.RejectConsequent()), f"r{i}", i)
        for i, condition in enumerate(conditions_)
    )
    for fallthrough, expected in ((True, [0, 4]), (False, [0, 1, 4])):
        kept = drop_dead(Cascade(steps, 6), fallthrough=fallthrough)
        assert [step.index for step in kept.steps] == expected


@SETTINGS
@given(tables())
def test_shared_parts_are_costly_and_occur_twice(table):
    cascade = compile_rules(table, features=PLAIN).target.flat.cascade
    text = repr([step.rule.condition for step in all_steps(cascade)])
    for part in shared_parts(cascade):
        assert text.count(repr(part)) >= 2
        if not isinstance(part, ast.Arith):
            assert cost.condition_cost(part) >= cost.SHARED


@SETTINGS
@given(conditions(10))
def test_costs_are_finite_and_shares_are_shares(condition):
    condition = optimise_condition(checked(condition))
    assert 0 < cost.condition_cost(condition) < math.inf
    assert 0 <= cost.selectivity(condition) <= 1


@SETTINGS
@given(crowded(), ROWS, st.booleans())
def test_combined_sets_hold_what_all_or_any_of_them_hold(found, rows, every):
    leaves = [optimise_condition(checked(each)) for each in found["rules"]]
    rows += edge_rows(found)
    for name in PLAIN:
        sets = [
            values
            for leaf in leaves
            if getattr(leaf, "left", getattr(leaf, "operand", None)) == ast.Field(name)
            and (values := spans.values_of(leaf)) is not None
        ]
        if not sets:
            continue
        whole = spans.combine(sets, every=every)
        for row in rows:
            read = reference.Reader(PLAIN, row, NOW_US).field(name)
            if read is not None:
                parts = [member(values, read) for values in sets]
                assert member(whole, read) == (all(parts) if every else any(parts))
                assert member(spans.complement(whole), read) != member(whole, read)
