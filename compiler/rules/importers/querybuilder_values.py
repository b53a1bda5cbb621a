"""Values as react-querybuilder keeps them, mostly texts, in the types of the schema."""

from __future__ import annotations

import re
from typing import Any

from compiler.rules.importers.report import Report, refuse
from compiler.schema import Feature

PLACEHOLDER = "~"
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*\Z")
_NUMBERS = frozenset({"int", "float", "float32", "decimal"})


class ValueReader:
    """Reads values, noting each conversion."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def plain(self, value: Any, name: str, feature: Feature, at: str) -> Any:
        """One literal of a feature's type."""
        if value == PLACEHOLDER:
            refuse("querybuilder.placeholder", "expected a value, got the placeholder ~", at)
        if feature.type in _NUMBERS and isinstance(value, str):
            return self._number(value, name, at)
        if feature.type == "bool" and value in ("true", "false"):
            self._converted(value, name, at)
            return value == "true"
        if value is None or isinstance(value, list | dict):
            refuse(
                "querybuilder.value",
                f"expected a value for {name}, got {_shown(value)}",
                at,
                "test presence with the operators null and notNull",
            )
        return value

    def _number(self, text: str, name: str, at: str) -> int | float:
        if not _NUMBER.match(text) or len(text) > 400:
            refuse("querybuilder.value", f"expected a number for {name}, got {_shown(text)}", at)
        self._converted(text, name, at)
        return int(text) if text.strip().lstrip("+-").isdigit() else float(text)

    def _converted(self, text: str, name: str, at: str) -> None:
        self.report.differs(
            "querybuilder.text_value", f"the text {_shown(text)} is read as a value of {name}", at
        )

    def many(self, value: Any, at: str) -> list[Any]:
        """A list, or the parts of a text between commas."""
        if isinstance(value, list):
            return value
        if not isinstance(value, str):
            refuse(
                "querybuilder.value",
                f"expected a list or a text with commas, got {_shown(value)}",
                at,
            )
        parts = [part.strip() for part in value.split(",")]
        self.report.differs(
            "querybuilder.comma_list",
            f"the text {_shown(value)} is split at its commas, blanks around them taken off",
            at,
        )
        return [part for part in parts if part]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
