"""A CEL text to a condition of the rule language, equal to CEL wherever CEL has an answer.

The tree is evaluated once, over constants exactly as CEL does and over features by building a
condition; what the language cannot express exactly is refused with its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.errors import Problem
from compiler.rules import ast, limits
from compiler.rules.cel import calls, compute, functions, scope, values
from compiler.rules.cel import compare as comparing
from compiler.rules.cel.budget import MAX_STEPS, MAX_TABLE_STEPS, Budget
from compiler.rules.cel.macros import MACROS, expand
from compiler.rules.cel.results import (
    CelError,
    Choice,
    Constant,
    Failed,
    Input,
    Items,
    Result,
    Test,
    as_test,
    both,
    chosen,
    either,
    negated,
    never,
    sized,
)
from compiler.rules.cel.tree import Call, Ident, Index, ListOf, Literal, MapOf, Node, Select

if TYPE_CHECKING:
    from compiler.schema import FeatureMap

_ARITHMETIC = frozenset("+-*/%")


class Translator:
    """Evaluates one text; problems in parts of ``&&`` and ``||`` are collected.

    Attributes:
        problems: what was found so far.
        steps: parts evaluated so far.
    """

    def __init__(self, features: FeatureMap, at: str, budget: Budget | None = None) -> None:
        self.features, self.at, self.budget = features, at, budget or Budget()
        self.problems: list[Problem] = []
        self.steps = 0

    def whole(self, tree: Node, depth: int) -> ast.Condition | None:
        """The condition of a whole text, or None with problems."""
        try:
            return self.judged(tree, depth)
        except CelError as error:
            self.problems.append(error.problem())
            return None

    def judged(self, tree: Node, depth: int) -> ast.Condition:
        """The condition of a whole text.

        Raises:
            CelError: it is none, always fails, or stands too deep.
        """
        at = self.place(tree)
        whole = self.value(tree, {})
        if isinstance(whole, Constant) and not isinstance(whole.value, bool):
            raise CelError(
                f"expected a condition, got {values.kind(whole.value)} {values.shown(whole.value)}",
                code="cel.not_a_condition",
                at=at,
                hint="compare it with something",
            )
        found = as_test(whole, at)
        if isinstance(found, Failed):
            raise never(found)
        if isinstance(found, Constant):
            return ast.Truth(found.value, at)
        self.budget.size -= found.size
        if self.budget.size < 0:
            message = f"expected at most {limits.MAX_NODES} conditions in a table, got more"
            raise CelError(message, code="rule.too_large", at=at)
        return sized(found.condition, found.size, found.depth + depth - 1, at).condition

    def place(self, node: Node) -> str:
        """Where a node stands in the document."""
        return f"{self.at}@{node.at}"

    def spend(self, node: Node, steps: int = 1) -> None:
        """Counts work against the limit of one text."""
        self.steps += steps
        self.budget.steps -= steps
        if self.steps > MAX_STEPS or self.budget.steps < 0:
            most, what = (
                (MAX_STEPS, "a text")
                if self.budget.steps >= 0
                else (MAX_TABLE_STEPS, "all texts of a table")
            )
            raise CelError(
                f"expected at most {most} steps to write {what} out, got more",
                code="rule.too_large",
                at=self.place(node),
                hint="split it into several rules",
            )

    def value(self, node: Node, names: dict[str, Any]) -> Result:
        """What a node comes to; ``names`` are the variables of macros around it."""
        self.spend(node)
        match node:
            case Literal(value=value):
                return Constant(value)
            case Ident() | Select() | Index():
                return self.name(node, names)
            case ListOf(items=items):
                return self.list_of(node, [self.value(item, names) for item in items])
            case MapOf():
                return self.map_of(node, names)
            case Call():
                return self.call(node, names)

    # names, lists and maps ---------------------------------------------------------------------

    def name(self, node: Ident | Select | Index, names: dict[str, Any]) -> Result:
        """A feature, a macro's variable, or an item of a constant."""
        path = scope.path_of(node)
        if path is not None and path.partition(".")[0] not in names:
            return scope.read(path, self.features, self.place(node))
        if isinstance(node, Ident):
            return Constant(names[node.name])
        base = self.value(node.of, names)
        key = Constant(node.name) if isinstance(node, Select) else self.value(node.key, names)
        for part in (base, key):
            if isinstance(part, Failed):
                return part
            if not isinstance(part, Constant):
                raise CelError(
                    "expected a constant list or map before its key, got a value of the row",
                    at=self.place(node),
                )
        assert isinstance(base, Constant)
        assert isinstance(key, Constant)
        try:
            return Constant(_item(base.value, key.value, field=isinstance(node, Select)))
        except values.Failure as error:
            return Failed(str(error), self.place(node))

    def list_of(self, node: Node, parts: list[Result]) -> Result:
        """``[a, b]``."""
        for part in parts:
            if isinstance(part, Failed):
                return part
        constants = [part.value for part in parts if isinstance(part, Constant)]
        if len(constants) == len(parts):
            return self.weighed(node, tuple(constants))
        return Items(tuple(parts))

    def map_of(self, node: MapOf, names: dict[str, Any]) -> Result:
        """``{key: value}`` of constants."""
        pairs: list[tuple[Any, Any]] = []
        for key_node, value_node in node.items:
            key, value = self.value(key_node, names), self.value(value_node, names)
            for part in (key, value):
                if isinstance(part, Failed):
                    return part
                if not isinstance(part, Constant):
                    raise CelError(
                        "expected only constants in a map, got a value of the row",
                        at=self.place(node),
                    )
            assert isinstance(key, Constant)
            assert isinstance(value, Constant)
            if values.kind(key.value) not in ("int", "uint", "bool", "string"):
                return Failed("a key of a map is an int, uint, bool or string", self.place(node))
            if any(values.equal(key.value, known) for known, _ in pairs):
                return Failed("the map has a key twice", self.place(node))
            pairs.append((key.value, value.value))
        return self.weighed(node, values.Map(tuple(pairs)))

    def weighed(self, node: Node, value: Any) -> Constant:
        """A constant, its size counted as steps, so that nothing can be made to explode."""
        stack = [value]
        while stack:
            item = stack.pop()
            self.spend(node, 1 + (len(item) // 64 if isinstance(item, str | bytes) else 0))
            if isinstance(item, tuple):
                stack.extend(item)
            elif isinstance(item, values.Map):
                stack.extend(part for pair in item.pairs for part in pair)
        return Constant(value)

    # operators and functions -------------------------------------------------------------------

    def call(self, node: Call, names: dict[str, Any]) -> Result:
        """An operator, function, method or macro."""
        if node.target is not None and node.name in MACROS:
            found = expand(node, names, self.value)
            return self.weighed(node, found.value) if isinstance(found, Constant) else found
        if node.name in ("&&", "||") and node.target is None:
            return self.logic(node, names)
        if node.name == "has" and node.target is None:
            return self.has(node, names)
        self.known(node)
        parts = (node.target, *node.args) if node.target is not None else node.args
        results = [self.value(part, names) for part in parts]
        if node.name == "?:":
            return self.choice(node, results)
        for part in results:
            if isinstance(part, Failed):
                return part
        return self.apply(node, results)

    def known(self, node: Call) -> None:
        """Refuses functions outside the subset."""
        operators = {*comparing.MIRROR, *_ARITHMETIC, "in", "!", "-_", "?:"}
        if node.target is None and (node.name in operators or node.name in functions.GLOBALS):
            return
        if node.target is not None and node.name in functions.METHODS:
            return
        raise CelError(
            f"expected a function of the subset, got {node.name}",
            code="cel.function",
            at=self.place(node),
            hint="size contains startsWith endsWith matches has timestamp duration; int uint double"
            " string bytes bool type of constants",
        )

    def apply(self, node: Call, parts: list[Result]) -> Result:
        """An operator or function of evaluated parts, none of them failed."""
        for index, part in enumerate(parts):
            if isinstance(part, Choice):  # f(c ? a : b) is c ? f(a) : f(b)
                arms = [
                    self.apply(node, [*parts[:index], arm, *parts[index + 1 :]])
                    for arm in (part.first, part.second)
                ]
                return self.choice(node, [part.test, *arms])
        at = self.place(node)
        if node.name in comparing.MIRROR:
            return self.compared(node, parts[0], parts[1])
        if node.name == "!":
            return negated(as_test(parts[0], at), at)
        if node.name == "in":
            return self.member(node, parts[0], parts[1])
        if node.name == "-_":
            return compute.negative(parts[0], at)
        if node.name in _ARITHMETIC:
            found = compute.binary(node.name, parts[0], parts[1], at)
            return self.weighed(node, found.value) if isinstance(found, Constant) else found
        return calls.function(node.name, parts, self.place(node))

    def logic(self, node: Call, names: dict[str, Any]) -> Result:
        """``&&`` and ``||``; a faulty side is reported and the other still read."""
        parts = []
        for side in node.args:
            try:
                parts.append(as_test(self.value(side, names), self.place(side)))
            except CelError as error:
                self.problems.append(error.problem())
                parts.append(Test(ast.Truth(True, self.place(side))))
        join = both if node.name == "&&" else either
        return join(parts, self.place(node))

    def choice(self, node: Call, results: list[Result]) -> Result:
        """``test ? first : second``."""
        at = self.place(node)
        test, first, second = as_test(results[0], at), results[1], results[2]
        if isinstance(test, Failed):
            return test
        if isinstance(test, Constant):
            return first if test.value else second
        arms = (first, second)
        if all(_is_condition(arm) for arm in arms):
            return chosen(test, as_test(first, at), as_test(second, at), at)
        for arm in arms:
            if isinstance(arm, Failed):
                raise never(arm)
        return Choice(test, first, second)

    def compared(self, node: Call, left: Result, right: Result) -> Result:
        """``== != < <= > >=``, conditions and booleans included."""
        at = self.place(node)
        if isinstance(left, Test) or isinstance(right, Test):
            sides = [as_test(left, at), as_test(right, at)]
            for side in sides:
                if isinstance(side, Failed):
                    raise never(side)
            if node.name not in ("==", "!="):
                raise CelError(f"expected == or != between conditions, got {node.name}", at=at)
            same = node.name == "=="
            if isinstance(sides[0], Constant) or isinstance(sides[1], Constant):
                fixed, test = sides if isinstance(sides[0], Constant) else reversed(sides)
                assert isinstance(fixed, Constant)
                return test if fixed.value == same else negated(test, at)
            tests = [side for side in sides if isinstance(side, Test)]
            xor = ast.Xor(tuple(test.condition for test in tests), negated=same, at=at)
            size, depth = sum(test.size for test in tests), max(test.depth for test in tests)
            return Test(xor, size + 1, depth + 1)
        if isinstance(left, Constant) and isinstance(right, Constant):
            self.weighed(node, (left.value, right.value))
        return comparing.compare(left, node.name, right, at)

    def member(self, node: Call, item: Result, group: Result) -> Result:
        """``item in group``."""
        at = self.place(node)
        if isinstance(group, Items):
            return either(
                [as_test(self.compared_item(node, item, part), at) for part in group.parts], at
            )
        found = group.value if isinstance(group, Constant) else None
        if isinstance(found, values.Map):
            found = tuple(key for key, _ in found.pairs)
        if not isinstance(found, tuple):
            if isinstance(group, Constant):
                return Failed("in needs a list or map", at)
            raise CelError("expected a list of values behind in, got a value of the row", at=at)
        if isinstance(item, Constant):
            self.weighed(node, (found, item.value))
            return Constant(any(values.equal(item.value, value) for value in found))
        if isinstance(item, Input):
            return comparing.member(item, found, at)
        raise CelError("expected a feature before in, got another value", at=at)

    def compared_item(self, node: Call, item: Result, part: Result) -> Result:
        """``item == part`` of a written-out list."""
        return self.compared(Call("==", None, node.args, node.at), item, part)

    def has(self, node: Call, names: dict[str, Any]) -> Result:
        """``has(a.b)``: presence of a feature, or of a key in a constant map."""
        at = self.place(node)
        target = node.args[0] if len(node.args) == 1 else None
        if not isinstance(target, Select):
            hint = "write has(features.x), has(context.x) or x != null"
            raise CelError("expected has() of a selection, got another value", at=at, hint=hint)
        path = scope.path_of(target)
        if path is not None and path.partition(".")[0] not in names:
            found = scope.read(path, self.features, at)
            if isinstance(found, Input):
                return Test(ast.Presence(found.operand, "notNull", at=at))
        base = self.value(target.of, names)
        if isinstance(base, Constant) and isinstance(base.value, values.Map):
            return Constant(base.value.has(target.name))
        if isinstance(base, Constant | Failed):
            return base if isinstance(base, Failed) else Failed("has() of no map", at)
        raise CelError("expected has() of a feature or a constant map, got another value", at=at)


def _is_condition(result: Result) -> bool:
    if isinstance(result, Constant):
        return isinstance(result.value, bool)
    return isinstance(result, Test) or (isinstance(result, Input) and result.kind == "bool")


def _item(base: Any, key: Any, *, field: bool) -> Any:
    if isinstance(base, values.Map):
        return base.get(key)
    if isinstance(base, tuple) and not field:
        whole = isinstance(key, int) or (isinstance(key, float) and key.is_integer())
        if isinstance(key, bool) or not whole:
            raise values.Failure(f"{values.shown(key)} is no index of a list")
        if not 0 <= key < len(base):
            raise values.Failure(f"index {values.shown(key)} is outside the list")
        return base[int(key)]
    raise values.Failure(f"{values.kind(base)} has no fields")
