"""The table of every operator against every kind of missing or odd value, from the reference.

Run ``python -m tests.missing_table`` to write it into the language reference.
"""

from __future__ import annotations

import math
from pathlib import Path

from compiler.rules import ast
from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader, truth
from compiler.schema import Feature
from tests.strategies import NOW_US

PAGE = Path(__file__).parents[1] / "compiler" / "LANGUAGE.md"
BEGIN, END = "<!-- missing: begin -->\n", "<!-- missing: end -->"
FEATURES = {
    "x": Feature(type="float", nullable=True),
    "y": Feature(type="float"),
    "t": Feature(type="string", nullable=True),
    "e": Feature(type="enum", values=("web", "branch"), nullable=True),
    "s": Feature(type="timestamp", nullable=True),
    "i": Feature(type="int", nullable=True),
}
CONDITIONS = (
    "x = 5", "x != 5", "x < 5", "x <= 5", "x > 5", "x >= 5", "x < y",
    "x IS DISTINCT FROM 5", "x IS NOT DISTINCT FROM 5", "x IS DISTINCT FROM y",
    "x IN (1, 5)", "x NOT IN (1, 5)", "i = 4.5", "i != 4.5", "x IN ()",
    "x BETWEEN 1 AND 5", "x NOT BETWEEN 1 AND 5",
    "t = 'a'", "t != 'a'", "t CONTAINS 'a'", "t NOT CONTAINS 'a'", "t BEGINS WITH 'a'",
    "t ENDS WITH 'a'", "t MATCHES '^a'", "t NOT MATCHES '^a'", "t CONTAINS 'A' IGNORE CASE",
    "e = 'web'", "e != 'web'", "e IN ('web', 'branch')", "e NOT IN ('web', 'branch')",
    "x IS NULL", "x IS NOT NULL", "x IS NAN", "NOT x IS NAN", "t IS EMPTY", "t IS NOT EMPTY",
    "e IS NULL",
    "s < NOW", "s IN LAST '7d'", "s NOT IN LAST '7d'", "s IN NEXT '7d'",
    "x + 1 > 0", "x - 1 > 0", "x * 2 > 0", "x / 2 > 0", "-x > 0", "y / x > 0", "ABS(x) > 0",
    "MIN(x, 5) > 0", "MAX(x, 5) > 0", "COALESCE(x, 5) > 0", "x + 1 IS NULL",
    "x < 5 AND y < 0", "x < 5 OR y > 0", "x < 5 XOR y > 0", "NOT (x < 5)",
)  # fmt: skip
KINDS = {
    "absent": None,
    "null": None,
    "NaN": math.nan,
    "+inf": math.inf,
    "-inf": -math.inf,
    "wrong type": True,
    "`''`": "",
    "not in the enum": "fax",
}
_ABSENT = "absent"


def conditions() -> list[ast.Condition]:
    """The conditions of the table, checked."""
    text = "IF " + " THEN m ELSE IF ".join(CONDITIONS) + " THEN m ELSE m"
    table = compile_rules(text, features=FEATURES).table
    return [rule.condition for rule in table.rules]


def render() -> str:
    """The table in Markdown; T, F, U by the reference interpreter."""
    lines = [
        "| condition | " + " | ".join(KINDS) + " |",
        "|---" * (len(KINDS) + 1) + "|",
    ]
    for text, node in zip(CONDITIONS, conditions(), strict=True):
        feature = next(name for name in ("x", "t", "e", "s", "i") if name in text.split("'")[0])
        if "e IS" in text or text.startswith("e "):
            feature = "e"
        cells = []
        for kind, value in KINDS.items():
            row = {"y": 7.0} if kind == _ABSENT else {"y": 7.0, feature: value}
            found = truth(node, Reader(FEATURES, row, NOW_US))
            cells.append("U" if found is None else "FT"[found])
        lines.append(f"| `{text}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """The table that the language reference holds."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Write the table into the language reference."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + render() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
