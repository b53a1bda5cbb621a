"""Imported rules answer what their own language answers, for any rule and row of the schema."""

from __future__ import annotations

import itertools
import operator

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from compiler.errors import ProblemsError
from compiler.rules.importers.jsonlogic import import_jsonlogic
from compiler.rules.importers.querybuilder import import_querybuilder
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from tests.conformance.tables import routes_of

SETTINGS = settings(
    max_examples=700, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
FEATURES = {
    "a": Feature(type="float", nullable=True),
    "b": Feature(type="float"),
    "n": Feature(type="int", min=-10, max=10, nullable=True),
    "s": Feature(type="string", nullable=True),
    "t": Feature(type="string"),
    "p": Feature(type="bool", nullable=True),
    "q": Feature(type="bool"),
}
ROW = st.fixed_dictionaries(
    {
        "a": st.sampled_from((None, -1.5, 0.0, 1.0, 5.0)),
        "b": st.sampled_from((-1.5, 0.0, 1.0, 5.0)),
        "n": st.sampled_from((None, -1, 0, 1, 5)),
        "s": st.sampled_from((None, "", "x", "xy", "5")),
        "t": st.sampled_from(("", "x", "xy", "5")),
        "p": st.sampled_from((None, True, False)),
        "q": st.booleans(),
    }
)

# JsonLogic: the obvious interpreter ------------------------------------------------------------


def number(value):
    if value is None:
        return 0.0
    if isinstance(value, str):
        text = value.strip()
        try:
            return float(text) if text else 0.0
        except ValueError:
            return float("nan")
    return float(value)


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def same_type(left, right):
    return (is_number(left) and is_number(right)) or type(left) is type(right)


def loose(left, right):
    if same_type(left, right):
        return left == right
    if left is None or right is None:
        return False
    return number(left) == number(right)


def order(op, left, right):
    test = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[op]
    if isinstance(left, str) and isinstance(right, str):
        return test(left, right)
    return test(number(left), number(right))


def jsonlogic(rule, row):
    if not isinstance(rule, dict):
        return rule
    ((op, args),) = rule.items()
    args = args if isinstance(args, list) else [args]
    if op == "var":
        value = row.get(args[0])
        return args[1] if value is None and len(args) > 1 else value
    if op == "if":
        for place in range(0, len(args) - 1, 2):
            if jsonlogic(args[place], row):
                return jsonlogic(args[place + 1], row)
        return jsonlogic(args[-1], row) if len(args) % 2 else None
    if op in ("and", "or"):
        for arg in args:
            value = jsonlogic(arg, row)
            if bool(value) == (op == "or"):
                break
        return value
    if op == "in" and isinstance(args[1], list):
        needle = jsonlogic(args[0], row)
        return any(same_type(needle, item) and needle == item for item in args[1])
    if op in ("missing", "missing_some"):
        names = args if op == "missing" else args[1]
        gone = [name for name in names if row.get(name) in (None, "")]
        enough = op == "missing_some" and len(names) - len(gone) >= args[0]
        return [] if enough else gone
    found = [jsonlogic(arg, row) for arg in args]
    if op in ("!", "!!"):
        return bool(found[0]) == (op == "!!")
    if op == "in":
        return found[1] is not None and found[0] in found[1]
    if op in ("==", "!="):
        return loose(*found) == (op == "==")
    if op in ("===", "!=="):
        return (same_type(*found) and found[0] == found[1]) == (op == "===")
    if op in ("<", "<=", ">", ">="):
        return all(order(op, *pair) for pair in itertools.pairwise(found))
    arithmetic = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    return arithmetic[op](float(found[0]), float(found[1]))


def _var(names="abnstpq"):
    plain = st.sampled_from(names).map(lambda name: {"var": name})
    with_default = st.builds(lambda name, value: {"var": [name, value]}, st.sampled_from("an"),
                             st.sampled_from((0, 1, 7)))  # fmt: skip
    return plain | plain | plain | with_default


def _operand():
    sums = st.builds(lambda op, a, b: {op: [a, b]}, st.sampled_from("+-*"), _var("b"),
                     st.sampled_from((2, -1.5)))  # fmt: skip
    literal = st.sampled_from((0, 1, 5, -1.5, "", "x", "5", True, False, None))
    return _var() | _var() | literal | sums


def _expression():
    compare = st.sampled_from(("==", "!=", "===", "!==", "<", "<=", ">", ">="))
    leaf = st.one_of(
        st.builds(lambda op, a, b: {op: [a, b]}, compare, _operand(), _operand()),
        st.builds(lambda op, a, b, c: {op: [a, b, c]}, st.sampled_from(("<", "<=")),
                  st.sampled_from((-1, 0)), _var("abn"), st.sampled_from((1, 5))),
        st.builds(lambda a: {"!!": a}, _var()),
        st.builds(lambda a, items: {"in": [a, items]}, _var(),
                  st.lists(st.sampled_from((1, 5, "x", "", True, None)), max_size=3)),
        st.builds(lambda part, a: {"in": [part, a]}, st.sampled_from(("", "x")), _var("st")),
        st.builds(lambda names: {"!": {"missing": names}},
                  st.lists(st.sampled_from("abst"), min_size=1, max_size=3)),
        st.builds(lambda need: {"!!": {"missing_some": [need, ["a", "s", "t"]]}},
                  st.sampled_from((1, 3))),
    )  # fmt: skip

    def deeper(inner):
        return st.one_of(
            st.builds(lambda op, parts: {op: parts}, st.sampled_from(("and", "or")),
                      st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda a: {"!": [a]}, inner),
            st.builds(lambda a, b, c: {"!!": {"if": [a, b, c]}}, inner, inner, inner),
        )  # fmt: skip

    return st.recursive(leaf, deeper, max_leaves=5)


@SETTINGS
@given(
    tests=st.lists(_expression(), min_size=1, max_size=3),
    rows=st.lists(ROW, min_size=2, max_size=5),
)
def test_jsonlogic_chain_takes_the_branch_that_jsonlogic_takes(tests, rows):
    rule = {
        "if": [part for place, test in enumerate(tests) for part in (test, f"m{place}")] + ["z"]
    }
    try:
        found = import_jsonlogic(rule, FEATURES)
    except ProblemsError:
        event("refused")
        return
    event("compared")
    rules = compile_rules(found.document)
    for row in rows:
        names = {rules.consequents[index].model for index in routes_of(rules, row).values()}
        assert names == {jsonlogic(rule, row)}, (rule, row)


# react-querybuilder: SQL's three values --------------------------------------------------------


def leaf_value(rule, row):
    op, left = rule["operator"], row[rule["field"]]
    if op in ("null", "notNull"):
        return (left is None) == (op == "null")
    value = rule["value"]
    if rule.get("valueSource") == "field":
        value = row[value]
    elif isinstance(left, int | float) and not isinstance(left, bool):
        parts = value.split(",") if isinstance(value, str) else value
        value = [float(part) for part in parts] if isinstance(parts, list) else float(parts)
        value = (
            value
            if op.lower().endswith(("in", "between"))
            else (value[0] if isinstance(value, list) else value)
        )
    elif op in ("in", "notIn"):
        value = value.split(",") if isinstance(value, str) else value
    if left is None or value is None:
        return None
    if op in ("in", "notIn"):
        return (left in value) == (op == "in")
    if op in ("between", "notBetween"):
        return (min(value) <= left <= max(value)) == (op == "between")
    tests = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
             ">": operator.gt, ">=": operator.ge, "contains": operator.contains,
             "beginsWith": str.startswith, "endsWith": str.endswith}  # fmt: skip
    if op.startswith("doesNot"):
        return not tests[{"Con": "contains", "Beg": "beginsWith", "End": "endsWith"}[op[7:10]]](
            left, value
        )
    return tests[op](left, value)


def group_value(group, row):
    if "rules" not in group:
        return leaf_value(group, row)
    parts = [group_value(part, row) for part in group["rules"] if not part.get("muted")]
    if group["combinator"] == "xor":
        value = None if None in parts else parts.count(True) % 2 == 1
    else:
        wins = group["combinator"] == "or"
        value = wins if wins in parts else (None if None in parts else not wins)
    return (None if value is None else not value) if group.get("not") else value


def _rule():
    texts = st.sampled_from(("contains", "doesNotContain", "beginsWith", "doesNotBeginWith",
                             "endsWith", "doesNotEndWith", "=", "!="))  # fmt: skip
    compare = st.sampled_from(("=", "!=", "<", "<=", ">", ">="))
    return st.one_of(
        st.builds(dict, field=st.sampled_from("abn"), operator=compare,
                  value=st.sampled_from((0, 1, 5, "1", "-1.5", "0"))),
        st.builds(dict, field=st.sampled_from("abn"), operator=compare,
                  valueSource=st.just("field"), value=st.sampled_from("abn")),
        st.builds(dict, field=st.sampled_from("st"), operator=texts,
                  value=st.sampled_from(("", "x", "y"))),
        st.builds(dict, field=st.sampled_from("abn"),
                  operator=st.sampled_from(("between", "notBetween")),
                  value=st.sampled_from(([0, 5], [5, 0], "0,5", ["1", "5"]))),
        st.builds(dict, field=st.sampled_from("abn"), operator=st.sampled_from(("in", "notIn")),
                  value=st.sampled_from(([0, 5], "0,5", ["1", "5"]))),
        st.builds(dict, field=st.sampled_from("st"), operator=st.sampled_from(("in", "notIn")),
                  value=st.sampled_from((["x"], "x,xy"))),
        st.builds(dict, field=st.sampled_from("abnstpq"),
                  operator=st.sampled_from(("null", "notNull")),
                  value=st.sampled_from((None, "ignored"))),
    )  # fmt: skip


def _group():
    muted = st.builds(lambda rule: {**rule, "muted": True}, _rule())

    def deeper(inner):
        parts = st.lists(inner, min_size=1, max_size=3)
        return st.builds(
            lambda word, rules, flip: {"combinator": word, "rules": rules, "not": flip},
            st.sampled_from(("and", "or", "xor")),
            st.builds(lambda rules, extra: rules + extra, parts, st.lists(muted, max_size=1)),
            st.booleans(),
        )  # fmt: skip

    return deeper(st.recursive(_rule(), deeper, max_leaves=5))


@SETTINGS
@given(query=_group(), rows=st.lists(ROW, min_size=2, max_size=5))
def test_query_matches_the_rows_that_sql_would_select(query, rows):
    rules = compile_rules(import_querybuilder(query, FEATURES).document)
    for row in rows:
        expected = 0 if group_value(query, row) is True else 1
        assert set(routes_of(rules, row).values()) == {expected}, (query, row)


# anything at all ------------------------------------------------------------------------------

KEYS = [
    "if",
    "and",
    "!",
    "<",
    "==",
    "in",
    "var",
    "missing_some",
    "+",
    "??",
    "rules",
    "combinator",
    "field",
    "operator",
    "value",
    "not",
    "conditions",
    "antecedent",
    "consequent",
    "type",
    "valueSource",
    "muted",
    "defaultConsequent",
    "id",
]
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, -1.5, 2**70, "", "a", "s", "and", "xor", "=", "between", "1,2", "~",
     "model", "field", "\U0001f600"]
)  # fmt: skip
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(SETTINGS, max_examples=1500)
@given(junk=JUNK, schema=st.booleans())
def test_any_json_is_imported_or_refused_with_places(junk, schema):
    for importer in (import_jsonlogic, import_querybuilder):
        problems = ()
        try:
            compile_rules(importer(junk, FEATURES if schema else None).document)
        except ProblemsError as error:
            problems = error.problems
        assert all(problem.message and problem.at for problem in problems)
