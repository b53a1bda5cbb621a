"""A table as a Python module that needs nothing but the standard library.

The text is ``standalone.py`` and two functions: ``decide(row, now=None)`` gives the id of the rule,
``route(row, now=None)`` what it answers. It is made to be read by people: one line a test,
one ``if`` a rule.
"""

from __future__ import annotations

import builtins
import datetime as dt
import decimal
import keyword
import re
from importlib import resources
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from compiler.rules import ast
from compiler.rules.check import field_names
from compiler.rules.export.exported import Exported, comment, route_of
from compiler.rules.flat import all_steps
from compiler.rules.importers.report import Report
from compiler.rules.print_text import print_condition
from compiler.rules.splits import split_key

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Cascade
    from compiler.schema import FeatureMap

_STEP = "    "
_TAKEN = frozenset(keyword.kwlist) | frozenset(dir(builtins))
_MARK = "def decide("


def to_python(rules: CompiledRules) -> Exported:
    """Module of a table.

    Rows are mappings from feature name to value; ``context.x`` and the outputs of a decision table
    are names like others.
    """
    report = Report()
    for leaf in rules.consequents:
        if isinstance(leaf, ast.ShadowConsequent | ast.ChallengeConsequent):
            report.differs("python.others", "only the model that answers is named", leaf.at)
    if any(feature.type == "timestamp" for feature in rules.scope.values()):
        report.differs(
            "python.times",
            "texts of times are read in the form 2024-05-01T12:00:00.123456Z or with +02:00; "
            "other forms of RFC 3339 are missing values",
            "",
        )
    runtime = resources.files(__package__).joinpath("standalone.py").read_text(encoding="utf-8")
    writer = PythonWriter(rules.scope, runtime)
    body = writer.function(rules)
    return Exported(f"{runtime}\n\n{body}\n\n{_routes(rules)}", report.close())


class PythonWriter:
    """Writes the conditions of one table as expressions over local names."""

    def __init__(self, features: FeatureMap, runtime: str) -> None:
        self.features = features
        self.taken = {"row", "now", "test", "decide", "route"}
        self.taken |= set(re.findall(r"^(?:def|class) (\w+)", runtime, re.MULTILINE))
        self.taken |= set(re.findall(r"\b\w+\b", " ".join(_imports(runtime))))
        self.names = {feature: self._local(feature) for feature in features}

    def _local(self, feature: str) -> str:
        found = re.sub(r"\W", "_", feature, flags=re.ASCII)
        if found in self.taken or found in _TAKEN or not found[0].isalpha():
            found = f"f_{found}"
        while found in self.taken:
            found += "_"
        self.taken.add(found)
        return found

    def function(self, rules: CompiledRules) -> str:
        """``decide``."""
        steps = list(all_steps(rules.flat.cascade))
        used = {n for step in steps for n in field_names(step.rule.condition)}
        lines = [
            f"{_MARK}row: Any, now: datetime | None = None) -> str:",
            f'{_STEP}"""Id of the rule that decides a row, a mapping; now None is the present."""',
            f"{_STEP}now = datetime.now(timezone.utc) if now is None else now",
        ]
        for feature in (name for name in self.features if name in used):
            kind = self.features[feature]
            scale = f", {kind.scale}" if kind.type == "decimal" else ""
            reader = "text" if kind.type in ("string", "enum") else kind.type
            read = f"read_{reader}(row.get({feature!r}){scale})"
            lines.append(f"{_STEP}{self.names[feature]} = {read}")
        lines += self.cascade(rules.flat.cascade, rules.ids, rules.on_unknown, _STEP)
        return "\n".join(lines) + "\n"

    def cascade(self, found: Cascade, ids: tuple[str, ...], on_unknown: str, pad: str) -> list[str]:
        """Statements that return an id."""
        lines = []
        for step in found.steps:
            shown = print_condition(step.rule.condition)
            lines += comment(shown[:200] + "..." * (len(shown) > 200), f"{pad}#").splitlines()
            lines += [f"{pad}test = {self.condition(step.rule.condition)}", f"{pad}if test:"]
            if step.inner is None:
                lines.append(f"{pad}{_STEP}return {ids[step.index]!r}")
            else:
                lines += self.cascade(step.inner, ids, on_unknown, pad + _STEP)
            if on_unknown == "error":
                lines += [
                    f"{pad}if test is None:",
                    f"{pad}{_STEP}raise UnknownRuleError({ids[step.index]!r})",
                ]
            elif on_unknown == "consequent":
                lines += [f"{pad}if test is None:", f"{pad}{_STEP}return 'unknown'"]
        return [*lines, f"{pad}return {ids[found.default]!r}"]

    def condition(self, node: ast.Condition) -> str:
        """An expression that is True, False or None."""
        match node:
            case ast.And(of=parts):
                return f"all_of({', '.join(map(self.condition, parts))})"
            case ast.Or(of=parts):
                return f"any_of({', '.join(map(self.condition, parts))})"
            case ast.Xor(of=parts, negated=negated):
                found = f"odd_of({', '.join(map(self.condition, parts))})"
                return f"opposite({found})" if negated else found
            case ast.Not(of=part):
                return f"opposite({self.condition(part)})"
            case ast.Truth(value=value):
                return repr(value)
            case ast.Compare(left=left, op=op, right=right):
                return f"compare({self.operand(left)}, {op!r}, {self.operand(right)})"
            case ast.Distinct(left=left, right=right, negated=negated):
                return f"({self.operand(left)} {'==' if negated else '!='} {self.operand(right)})"
        found = self.test(node)
        return f"opposite({found})" if getattr(node, "negated", False) else found

    def test(self, node: Any) -> str:
        """A test of one operand, negation aside."""
        subject = self.operand(node.operand)
        match node:
            case ast.Known(value=value):
                return f"(None if {subject} is None else {value!r})"
            case ast.In(values=values):
                items = "".join(f"{literal(value)}, " for value in values)
                return f"member({subject}, ({items.strip()}))"
            case ast.Between(low=low, high=high):
                return f"between({subject}, {literal(low)}, {literal(high)})"
            case ast.Within(direction=direction, span_us=span_us):
                ends = f"{subject}, now" if direction == "last" else f"now, {subject}"
                return f"within({ends}, {span_us // 1_000_000})"
            case ast.Text(op=op, value=value, ignore_case=ignore_case):
                fold = ", ignore_case=True" if ignore_case else ""
                return f"text_test({subject}, {op!r}, {value!r}{fold})"
            case ast.Presence(op="isNaN", operand=ast.Field(name=feature)):
                return f"is_nan(row.get({feature!r}))"
            case ast.Presence(op="null" | "notNull" as op):
                return f"({subject} is {'not ' if op == 'notNull' else ''}None)"
            case ast.Presence(op=op):
                word = "=" if op == "isEmpty" else "!="
                return f"compare({subject}, {word!r}, '')"
        raise TypeError(node)

    def operand(self, node: ast.Operand) -> str:
        """An expression that is None for MISSING."""
        match node:
            case ast.Field(name=feature):
                return self.names[feature]
            case ast.Const(value=value):
                return literal(value)
            case ast.Now():
                return "now"
            case ast.Arith(op=op, args=args):
                return f"calculate({op!r}, {', '.join(map(self.operand, args))})"


def literal(value: Any) -> str:
    """A literal as a Python expression."""
    if isinstance(value, dt.datetime):
        fields = (value.year, value.month, value.day, value.hour, value.minute, value.second)
        micros = f", {value.microsecond}" if value.microsecond else ""
        return f"datetime({', '.join(map(str, fields))}{micros}, tzinfo=timezone.utc)"
    if isinstance(value, dt.date):
        return f"date({value.year}, {value.month}, {value.day})"
    return f"Decimal('{value:f}')" if isinstance(value, decimal.Decimal) else repr(value)


def _routes(rules: CompiledRules) -> str:
    routes, splits = [], []
    for name, leaf in zip(rules.ids, rules.consequents, strict=True):
        if isinstance(leaf, ast.SplitConsequent):
            ends = tuple(accumulate(arm.weight for arm in leaf.arms))
            models = tuple(arm.model for arm in leaf.arms)
            chosen = (leaf.unit, split_key(leaf), ends, models)
            splits.append(f"{_STEP}{name!r}: {chosen!r},")
        else:
            routes.append(f"{_STEP}{name!r}: {route_of(leaf)!r},")
    return "\n".join(
        [
            "ROUTES: dict[str, str] = {", *routes, "}",
            "SPLITS: dict[str, tuple[str, str, tuple[int, ...], tuple[str, ...]]] = {",
            *splits, "}",
            "", "",
            "def route(row: Any, now: datetime | None = None) -> str:",
            f'{_STEP}"""Model, decision or reject that answers a row."""',
            f"{_STEP}rule = decide(row, now)",
            f"{_STEP}if rule in ROUTES:",
            f"{_STEP}{_STEP}return ROUTES[rule]",
            f"{_STEP}unit, key, ends, models = SPLITS[rule]",
            f"{_STEP}return models[arm(row.get(unit), key, ends)]",
            "",
        ]
    )  # fmt: skip


def _imports(runtime: str) -> list[str]:
    return re.findall(r"^(?:from|import) .*$", runtime, re.MULTILINE)
