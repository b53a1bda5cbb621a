"""One error root for every package, and the problems that a check reports together.

    AppError(code, message, at, hint)
    +-- ProblemsError        several problems found in one pass, in document order
    +-- (each package adds its own leaves beside the code that raises them)

Codes are stable words with dots (``features.missing``); wording may improve. A message says
what was expected, what was found and where; the hint says what to do next. Domain code knows no
HTTP: each web application has one table from error class or code to status in ``problem.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Problem(Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong, with its place.

    Attributes:
        code: stable dotted word, such as ``rule.type_mismatch``.
        message: expected, got.
        at: where: a path (``rows[3].income``) or ``line:column`` of a source text.
        hint: what to do next.
        expected: what would have been right, when that fits in a word.
        got: what was found, shortened.
    """

    code: str
    message: str
    at: str = ""
    hint: str = ""
    expected: str = ""
    got: str = ""

    def __str__(self) -> str:
        """Code, message, place and hint on at most two lines."""
        place = f" - at {self.at}" if self.at else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.code}: {self.message}{place}{hint}"


class AppError(Exception):
    """Something the product refuses or could not do."""

    code = "error"

    def __init__(self, message: str = "", *, code: str = "", at: str = "", hint: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or type(self).code
        self.at = at
        self.hint = hint
        super().__init__(self.message)

    def problem(self) -> Problem:
        """The same content as data."""
        return Problem(self.code, self.message, self.at, self.hint)

    def __str__(self) -> str:
        """Code, message, place and hint on at most two lines."""
        return str(self.problem())


class ProblemsError(AppError):
    """Several problems were found; each is listed with its place.

    Attributes:
        problems: in document order.
        source: text that the places (``line:column``) refer to, when there is one.
    """

    code = "problems"

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        message: str = "",
        code: str = "",
        source: str | None = None,
    ) -> None:
        self.problems = tuple(problems)
        self.source = source
        first = self.problems[0] if self.problems else Problem("problems", "no problem given")
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(
            message or first.message + more, code=code or first.code, at=first.at, hint=first.hint
        )

    def __str__(self) -> str:
        """Every problem, one after the other."""
        return "\n".join(str(problem) for problem in self.problems)
