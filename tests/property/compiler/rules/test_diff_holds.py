"""What a comparison of two tables says is true of every request."""

import itertools
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules.diff.outcomes import outcome_of
from compiler.rules.diff.replay import replay
from compiler.rules.diff.report import diff_tables
from compiler.rules.pipeline import compile_rules
from compiler.rules.print_json import table_json
from compiler.schema import Feature
from tests import strategies

SMALL = {
    "a": Feature("int", min=0, max=5, nullable=True),
    "b": Feature("enum", values=("x", "y", "z"), nullable=True),
    "c": Feature("bool"),
}
EVERY = [
    {name: value for name, value in zip(SMALL, values, strict=True) if value is not None}
    for values in itertools.product([*range(6), None], ["x", "y", "z", None], [False, True])
]
LEAVES = st.one_of(
    st.builds("a {} {}".format, st.sampled_from(["<", "<=", "=", "!=", ">", ">="]),
              st.integers(0, 5)),
    st.builds("a {}BETWEEN {} AND {}".format, st.sampled_from(["", "NOT "]), st.integers(0, 2),
              st.integers(2, 5)),
    st.builds("b {} '{}'".format, st.sampled_from(["=", "!="]), st.sampled_from("xyz")),
    st.builds("b {}IN ('{}', 'z')".format, st.sampled_from(["", "NOT "]), st.sampled_from("xy")),
    st.sampled_from(["a IS NULL", "a IS NOT NULL", "b IS NULL", "c = TRUE", "c != TRUE",
                     "b CONTAINS 'x'"]),
)  # fmt: skip
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda word, parts, flip: f"{'NOT ' if flip else ''}({f' {word} '.join(parts)})",
        st.sampled_from(["AND", "OR", "XOR"]),
        st.lists(inner, min_size=2, max_size=3),
        st.booleans(),
    ),
    max_leaves=4,
)
RULES = st.lists(
    st.tuples(CONDITIONS, st.sampled_from(["m1", "m2", "REJECT 'no'"])), min_size=1, max_size=4
)
QUICK = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def table(rules: list[tuple[str, str]]) -> Any:
    text = "ELSE ".join(f"IF {condition} THEN {then}\n" for condition, then in rules)
    return compile_rules(text + "ELSE m3", features=SMALL)


@st.composite
def edits(draw: st.DrawFn) -> tuple[Any, Any]:
    """A table and an edit of it: rules changed, dropped, added or moved."""
    rules = draw(RULES)
    other = list(rules)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(other) - 1))
        match draw(st.sampled_from(["change", "drop", "add", "move", "flip"])):
            case "change":
                other[at] = (draw(CONDITIONS), other[at][1])
            case "drop" if len(other) > 1:
                del other[at]
            case "add":
                other.insert(at, draw(RULES)[0])
            case "move":
                other.insert(0, other.pop(at))
            case "flip":
                other[at] = (f"NOT (NOT ({other[at][0]}))", other[at][1])
    return table(rules), table(other)


@QUICK
@given(edits())
def test_regions_are_exactly_the_requests_whose_outcome_differs(edit):
    old, new = edit
    found = diff_tables(old, new, 0)
    expected: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(EVERY):
        before, after = old.reference(row)[0], new.reference(row)[0]
        if outcome_of(old, before) != outcome_of(new, after):
            expected.setdefault((old.ids[before], new.ids[after]), []).append(place)
    assert found.verdict == ("differs" if expected else "same")
    regions = {(each.before.rule, each.after.rule): each for each in found.regions}
    assert set(regions) == set(expected)
    for pair, region in regions.items():
        assert region.more == 0 or len(region.where) == 6
        if not region.more:
            inside = compile_rules(
                f"IF {' OR '.join(f'({where})' for where in region.where)} THEN m1 ELSE m2"
                if "any request" not in region.where
                else "IF a IS NULL OR a IS NOT NULL THEN m1 ELSE m2",
                features=SMALL,
            )
            chosen = [at for at, row in enumerate(EVERY) if inside.reference(row)[0] == 0]
            assert chosen == expected[pair]


@QUICK
@given(edits())
def test_replay_counts_what_the_reference_counts(edit):
    old, new = edit
    columns = {
        name: strategies.np.array([row.get(name) for row in EVERY], dtype=object) for name in SMALL
    }
    found = replay(old, new, [(columns, len(EVERY), EVERY.__getitem__)], 0)
    differing = 0
    for row in EVERY:
        before, after = old.reference(row)[0], new.reference(row)[0]
        differing += outcome_of(old, before) != outcome_of(new, after)
    assert (found.rows, found.changed) == (len(EVERY), differing)
    assert sum(move.rows for move in found.moves) == differing
    assert len(found.examples) == min(10, differing)


@settings(QUICK, max_examples=25)
@given(strategies.tables(), st.data())
def test_nothing_is_called_same_while_a_request_differs(document, data):
    other = msgspec.json.decode(msgspec.json.encode(document))
    other["conditions"].insert(
        data.draw(st.integers(0, len(other["conditions"]))),
        {"id": "more", "antecedent": data.draw(strategies.conditions(3)),
         "consequent": {"type": "model", "model": data.draw(st.sampled_from(["m0_0", "m9"]))}},
    )  # fmt: skip
    old = compile_rules(document, features=strategies.PLAIN)
    new = compile_rules(other, features=strategies.PLAIN)
    found = diff_tables(old, new, strategies.NOW_US)
    for region in found.regions:
        outcomes = [
            outcome_of(each, each.reference(region.example, strategies.NOW_US)[0])
            for each in (old, new)
        ]
        assert outcomes[0] != outcomes[1]
    if found.verdict == "same":
        rows = [data.draw(strategies.sound_rows()) for _ in range(3)]
        for row in [*rows, *strategies.edge_rows(other)]:
            decided = [each.reference(row, strategies.NOW_US)[0] for each in (old, new)]
            assert outcome_of(old, decided[0]) == outcome_of(new, decided[1])


@settings(QUICK, max_examples=15)
@given(strategies.tables())
def test_a_table_never_differs_from_its_canonical_form(document):
    rules = compile_rules(document, features=strategies.PLAIN)
    again = compile_rules(table_json(rules.table), features=strategies.PLAIN)
    found = diff_tables(rules, again, strategies.NOW_US)
    assert found.regions == ()
    if found.searched < 200_000 and not found.why:
        assert found.verdict == "same"
