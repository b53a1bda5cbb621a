"""What an import gives: a table, and how it differs from its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from compiler.errors import Problem, ProblemsError
from compiler.rules.pipeline import compile_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.schema import Feature


class Imported(Struct, frozen=True):
    """A table of the JSON form.

    Attributes:
        document: the envelope; it compiles.
        differences: where the table does not mean what its source meant, in order, with places.
    """

    document: dict[str, Any]
    differences: tuple[Problem, ...] = ()


class Report:
    """Collects differences, each once, and the reasons of a refusal."""

    def __init__(self) -> None:
        self.differences: dict[tuple[str, str], Problem] = {}
        self.refusals: list[Problem] = []

    def differs(self, code: str, message: str, at: str) -> None:
        """Notes a difference; the same words are kept once, at their first place."""
        self.differences.setdefault((code, message), Problem(code, message, at))

    def refused(self, code: str, message: str, at: str, hint: str = "") -> None:
        """Notes a reason to refuse and goes on, so that all are told."""
        self.refusals.append(Problem(code, message, at, hint))

    def close(self) -> tuple[Problem, ...]:
        """The differences.

        Raises:
            ProblemsError: every reason to refuse.
        """
        if self.refusals:
            raise ProblemsError(self.refusals)
        return tuple(self.differences.values())


class RefusedError(Exception):
    """A jump out of a part that cannot be imported; it becomes a reason to refuse."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def refuse(code: str, message: str, at: str, hint: str = "") -> NoReturn:
    """Leaves the part being read.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(Problem(code, message, at, hint))


def finished(document: dict[str, Any], report: Report) -> Imported:
    """The import of a table that compiles.

    Raises:
        ProblemsError: every reason to refuse; those of the table itself name its own places.
    """
    differences = report.close()
    try:
        compile_rules(document)
    except ProblemsError as error:
        raise ProblemsError(
            [replace(problem, at=f"imported table {problem.at}") for problem in error.problems]
        ) from None
    return Imported(document, differences)


def envelope(
    features: Mapping[str, Feature], conditions: list[dict[str, Any]], default: dict[str, Any]
) -> dict[str, Any]:
    """A routing table of the JSON form."""
    return {
        "$schema": "interlock/rules/v1",
        "features": msgspec.to_builtins(dict(features)),
        "evaluationMode": "cascade",
        "onUnknown": "fallthrough",
        "conditions": conditions,
        "defaultConsequent": default,
    }
