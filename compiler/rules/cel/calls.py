"""Functions and methods: of constants as CEL computes them, of text features as text tests."""

from __future__ import annotations

from compiler.rules import ast
from compiler.rules.cel import functions, values
from compiler.rules.cel.patterns import PatternError, to_python
from compiler.rules.cel.results import CelError, Constant, Failed, Input, Length, Result, Test

_TEXT: dict[str, ast.TextOp] = {
    "contains": "contains",
    "startsWith": "beginsWith",
    "endsWith": "endsWith",
    "matches": "matches",
}


def function(name: str, parts: list[Result], at: str) -> Result:
    """A function of constants, or of a text feature; a method's receiver is its first part.

    Raises:
        CelError: the subset does not have it.
    """
    constants = [part.value for part in parts if isinstance(part, Constant)]
    if len(constants) == len(parts):
        try:
            return Constant(functions.call(name, constants))
        except values.Failure as error:
            return Failed(str(error), at)
        except PatternError as error:
            raise CelError(str(error), code="rule.regex", at=at) from None
    if len(parts) != functions.FUNCTIONS[name][0]:
        raise CelError(f"expected other arguments of {name}, got {len(parts)}", at=at)
    subject = parts[0]
    if name == "dyn":
        return subject
    if not isinstance(subject, Input) or subject.kind != "string":
        raise CelError(f"expected a text feature or constants in {name}, got another value", at=at)
    if name == "size":
        return Length(subject.operand)
    if name in _TEXT:
        return Test(_text_test(name, subject, parts[1], at))
    raise CelError(f"expected a constant in {name}, got a value of the row", at=at)


def _text_test(name: str, subject: Input, part: Result, at: str) -> ast.Condition:
    if not isinstance(part, Constant) or not isinstance(part.value, str):
        raise CelError(f"expected a literal text in {name}, got another value", at=at)
    text = part.value
    if name == "matches":
        try:
            text = to_python(text)
        except PatternError as error:
            hint = "use contains, or a simpler pattern"
            raise CelError(str(error), code="rule.regex", at=at, hint=hint) from None
    return ast.Text(subject.operand, _TEXT[name], text, at=at)
