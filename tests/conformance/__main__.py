"""``python -m tests.conformance``: runs the public suites and writes their pass tables.

Between marks, the totals stand in compiler/README.md and the tables by file in compiler/FORMATS.md;
every single outcome is in tests/data.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance import cel, jsonlogic

README = Path(__file__).parents[2] / "compiler" / "README.md"
FORMATS = README.with_name("FORMATS.md")


def block(text: str, name: str) -> str:
    """What stands between a table's marks."""
    _, found, rest = text.partition(f"<!-- {name}: begin -->\n")
    return rest.partition(f"<!-- {name}: end -->")[0] if found else ""


def replaced(text: str, name: str, table: str) -> str:
    """The text with another table between the marks."""
    return text.replace(
        f"<!-- {name}: begin -->\n{block(text, name)}<!-- {name}: end -->",
        f"<!-- {name}: begin -->\n{table}\n<!-- {name}: end -->",
    )


def totals(lines: list[str]) -> str:
    """The table of all suites."""
    return "\n".join(
        [
            "| cases | number | pass | refused with a reason | wrong |",
            "|---|---|---|---|---|",
            *lines,
        ]
    )


def main() -> int:
    text, lines, whole = FORMATS.read_text(), [], True
    for suite in (cel, jsonlogic):
        name = suite.__name__.rpartition(".")[2]
        cases = suite.read_cases()
        if cases is None:
            print(f"{name}: no cases at {suite.CASES}; its table stays as it is")
            whole = False
            continue
        whole = whole and suite.CASES == suite.OWN
        outcomes = suite.run(cases)
        print(suite.passes(outcomes))
        lines += suite.total_lines(outcomes)
        if suite.CASES == suite.OWN:
            text = replaced(text, name, suite.passes(outcomes))
            suite.OUTCOMES.write_text(suite.outcome_lines(outcomes))
        if any(outcome.state == "wrong" for outcome in outcomes):
            print(f"{name}: answers differ, see {suite.OUTCOMES}", file=sys.stderr)
            return 1
    FORMATS.write_text(text)
    if whole:
        README.write_text(replaced(README.read_text(), "conformance", totals(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
