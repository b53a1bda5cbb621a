"""Findings against every row of small tables over small domains, by the reference interpreter."""

from __future__ import annotations

import copy
import itertools
import json
import re
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules.analyse import report, space
from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader, truth
from compiler.schema import Feature

FEATURES = {
    "i": Feature(type="int", min=0, max=4),
    "j": Feature(type="int", min=0, max=3, nullable=True),
    "e": Feature(type="enum", values=("a", "b", "c", "d")),
    "b": Feature(type="bool", nullable=True),
}
DOMAINS = {
    "i": [0, 1, 2, 3, 4],
    "j": [0, 1, 2, 3, None],
    "e": ["a", "b", "c", "d"],
    "b": [False, True, None],
}
GENERATE = settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@cache
def every_row():
    rows = itertools.product(*DOMAINS.values())
    return [{n: v for n, v in zip(DOMAINS, row, strict=True) if v is not None} for row in rows]


def _test(field, operator, value=None):
    return {"field": field, "operator": operator, "value": value}


def _models():
    return st.sampled_from("xyz").map(lambda name: {"type": "model", "model": name})


LEAVES = st.one_of(
    *(
        st.builds(
            _test,
            st.just(name),
            st.sampled_from(["<", "<=", ">", ">="]),
            st.integers(0, DOMAINS[name][-2] + 1),
        )
        for name in ("i", "j")
    ),
    st.builds(_test, st.just("i"), st.sampled_from(["=", "!="]), st.integers(0, 4)),
    st.builds(_test, st.sampled_from("jb"), st.sampled_from(["null", "notNull"])),
    st.builds(_test, st.just("e"), st.sampled_from(["=", "!="]), st.sampled_from("abcd")),
    st.builds(
        _test,
        st.just("e"),
        st.sampled_from(["in", "notIn"]),
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True),
    ),
    st.builds(_test, st.just("b"), st.just("="), st.booleans()),
)


def _group(parts):
    return st.fixed_dictionaries(
        {
            "combinator": st.sampled_from(["and", "or", "and", "or", "xor"]),
            "rules": st.lists(parts, min_size=2, max_size=3),
        },
        optional={"not": st.just(True)},
    )


CONDITIONS = st.recursive(LEAVES, _group, max_leaves=5)


def _rules(consequents):
    return st.lists(
        st.fixed_dictionaries({"antecedent": CONDITIONS, "consequent": consequents}),
        min_size=1,
        max_size=4,
    )


NESTED = st.fixed_dictionaries(
    {"type": st.just("rules"), "conditions": _rules(_models()), "defaultConsequent": _models()}
)
TABLES = st.fixed_dictionaries(
    {
        "conditions": _rules(st.one_of(_models(), _models(), _models(), NESTED)),
        "defaultConsequent": _models(),
        "onUnknown": st.sampled_from(["fallthrough", "fallthrough", "fallthrough", "error"]),
    }
)

BOUNDS = st.fixed_dictionaries(
    {
        "conditions": st.lists(
            st.builds(
                lambda bound, more, consequent: {
                    "antecedent": {"combinator": "and", "rules": [bound, more]},
                    "consequent": consequent,
                },
                st.builds(
                    _test,
                    st.sampled_from("ij"),
                    st.sampled_from(["<", ">"]),
                    st.integers(1, 2),
                ),
                LEAVES,
                _models(),
            ),
            min_size=2,
            max_size=4,
        ),
        "defaultConsequent": _models(),
    }
)
"""Tables of thresholds, which leave single values out more often."""
SAMPLE = 12
"""Rows that stand for a table too large to try."""


def compiled(table):
    return compile_rules(json.dumps(table), features=FEATURES)


def decisions(rules):
    return [rules.reference(row)[0] for row in every_row()]


def _steps(at):
    """The keys of a place like ``$.conditions[0].antecedent.rules[1]``."""
    return [int(n) if n else word for word, n in re.findall(r"\.(\w+)|\[(\d+)\]", at)]


def removed(table, at):
    """The table without the test at a place; None where it is no part of a group."""
    changed = copy.deepcopy(table)
    *outer, last = _steps(at)
    node = changed
    for step in outer:
        node = node[step]
    if not isinstance(last, int) or len(node) < 2:
        return None
    del node[last]
    return changed


def parts(node, at):
    """Places of the parts of every ``and`` and ``or``."""
    if "combinator" in node:
        for number, part in enumerate(node["rules"]):
            place = f"{at}.rules[{number}]"
            if node["combinator"] != "xor":
                yield place
            yield from parts(part, place)


def cascades(table, at="$"):
    for number, rule in enumerate(table["conditions"]):
        place = f"{at}.conditions[{number}]"
        yield f"{place}.antecedent", rule["antecedent"]
        if "conditions" in rule["consequent"]:
            yield from cascades(rule["consequent"], f"{place}.consequent")


def listed(rules, code, rows=100_000):
    return [each for each in findings(rules, rows) if each.code == code]


def findings(rules, rows=100_000):
    """All of them, however many are of one kind, with a budget of some rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "MOST", 1_000)
        patch.setattr(space, "BUDGET_ROWS", rows)
        patch.setattr(space, "LEAST_ROWS", min(rows, 1_000))
        return rules.analyse()


@GENERATE
@given(TABLES)
def test_what_is_redundant_can_be_left_out_and_nothing_else_can(table):
    rules = compiled(table)
    before = decisions(rules)
    found = findings(rules)
    places = {each.at for each in found if each.code == "redundant"}
    for place in places:
        without = removed(table, place)
        assert without is not None
        assert decisions(compiled(without)) == before
    settled = {
        path
        for each in found
        if each.code in ("contradiction", "unreachable", "tautology")
        for path in each.rules
    }
    steps = {step.rule.at: step.path for step in rules.steps()}
    for condition, node in cascades(table):
        if any(path == other or path.startswith(other + "/") for other in settled
               for path in [steps[condition.removesuffix(".antecedent")]]):  # fmt: skip
            continue
        if any(place.startswith(condition) for place in places):
            continue  # of several that say the same only some are told
        for place in parts(node, condition):
            without = removed(table, place)
            assert decisions(compiled(without)) != before, place


@GENERATE
@given(TABLES)
def test_what_a_small_sample_proves_is_true_as_well(table):
    rules = compiled(table)
    before = decisions(rules)
    steps = {step.path: step for step in rules.steps()}
    readers = [Reader(rules.scope, row) for row in every_row()]
    for found in findings(rules, SAMPLE):
        if not found.proven or not found.rules:
            continue
        step = steps.get(found.rules[0])
        if found.code == "redundant":
            assert decisions(compiled(removed(table, found.at))) == before
        elif found.code == "unreachable":
            assert set(before).isdisjoint(step.leaves())
        elif found.code in ("contradiction", "tautology"):
            wanted = found.code == "tautology"
            assert all((truth(step.rule.condition, r) is True) == wanted for r in readers)
        elif found.code == "covered":
            assert rules.flat.cascade.default not in before


@GENERATE
@given(st.one_of(TABLES, BOUNDS))
def test_a_near_gap_is_one_value_between_two_that_rules_decide(table):
    rules = compiled(table)
    defaults = {index for index, name in enumerate(rules.ids) if name.endswith("default")}
    told = set()
    sampled = listed(rules, "near-gap", SAMPLE)
    complete = listed(rules, "near-gap")
    for found in (*sampled, *complete):
        row = found.example
        name = re.search(r"where (\w+) = ", found.message)[1]
        if found in complete:
            told.add((name, row[name]))
        assert rules.reference(row)[0] in defaults
        near = (
            [row[name] - 1, row[name] + 1]
            if name != "e"
            else [word for word in "abcd" if word != row[name]]
        )
        for value in near:
            index = rules.reference(row | {name: value})[0]
            assert index >= 0
            assert index not in defaults
    for name in ("i", "j"):
        for value in _holes(rules, name, defaults):
            assert (name, value) in told or _named(table, name, value)


def _holes(rules, name, defaults):
    """Values that a default alone decides between two that rules do, for some other features."""
    lines = {}
    for row in every_row():
        rest = tuple(row.get(other) for other in DOMAINS if other != name)
        lines.setdefault(rest, {})[row.get(name)] = rules.reference(row)[0]
    for line in lines.values():
        for value in DOMAINS[name][1:]:
            around = [line.get(value - 1, -1), line.get(value + 1, -1)] if value else []
            if (
                value
                and line[value] in defaults
                and all(leaf >= 0 and leaf not in defaults for leaf in around)
            ):
                yield value


def _named(table, name, value):
    """Whether some test asks for exactly the value."""
    return any(
        leaf.get("field") == name and leaf["operator"] in ("=", "!=") and leaf["value"] == value
        for _, node in cascades(table)
        for leaf in _leaves(node)
    )


def _leaves(node):
    if "combinator" in node:
        return [leaf for part in node["rules"] for leaf in _leaves(part)]
    return [node]


@GENERATE
@given(TABLES)
def test_a_missing_hole_changes_the_outcome_only_because_the_feature_is_missing(table):
    rules = compiled(table)
    steps = {step.path: step for step in rules.steps()}
    for found in (*listed(rules, "missing-hole"), *listed(rules, "missing-hole", SAMPLE)):
        row = found.example
        name = re.search(r"with `(\w+)` MISSING", found.message)[1]
        assert name not in row
        (path,) = found.rules
        condition = steps[path].rule.condition
        assert truth(condition, Reader(rules.scope, row)) is None
        index, unknown = rules.reference(row)
        assert path in unknown
        outcome = _model(rules, index)
        filled = [row | {name: value} for value in DOMAINS[name][:-1]]
        others = [rules.reference(each)[0] for each in filled]
        assert any(
            truth(condition, Reader(rules.scope, each)) is True
            and leaf in steps[path].leaves()
            and _model(rules, leaf) != outcome
            for each, leaf in zip(filled, others, strict=True)
        )
        if found.level == "warning":
            assert outcome not in [_model(rules, leaf) for leaf in others]
            assert rules.flat.cascade.default not in others


def _model(rules, leaf):
    return rules.consequents[leaf].model
