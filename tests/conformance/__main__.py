"""``python -m tests.conformance``: runs the public suites and writes their pass tables.

The tables stand in compiler/README.md between marks, every single outcome in tests/data.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance import cel, jsonlogic

README = Path(__file__).parents[2] / "compiler" / "README.md"


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


def main() -> int:
    text = README.read_text()
    for suite in (cel, jsonlogic):
        name = suite.__name__.rpartition(".")[2]
        cases = suite.read_cases()
        if cases is None:
            print(f"{name}: no cases at {suite.CASES}; its table stays as it is")
            continue
        outcomes = suite.run(cases)
        print(suite.passes(outcomes))
        if suite.CASES == suite.OWN:
            text = replaced(text, name, suite.passes(outcomes))
            suite.OUTCOMES.write_text(suite.outcome_lines(outcomes))
        if any(outcome.state == "wrong" for outcome in outcomes):
            print(f"{name}: answers differ, see {suite.OUTCOMES}", file=sys.stderr)
            return 1
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
