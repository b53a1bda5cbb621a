"""CEL's public cases through the real compiler and all of its engines.

A case passes when its expression compiles as a condition and the reference interpreter, both scalar
bindings, the index and numpy all give the expected truth. What is refused is refused with a reason;
an answer that differs is ``wrong``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.conformance.tables import answers_of, one_rule

OWN = CASES = Path(__file__).parent.parent / "data" / "cel.jsonl"
OUTCOMES = CASES.with_name("cel_outcomes.tsv")
TYPES = {
    "int": "int",
    "uint": "int",
    "double": "float",
    "bool": "bool",
    "string": "string",
    "timestamp": "timestamp",
    "null": "string",
}


class Outcome(Struct, frozen=True):
    """What became of one case.

    Attributes:
        case: its fields as in the file.
        group: what CEL answers: ``bool``, ``value`` or ``error``.
        state: ``pass``, ``refused`` or ``wrong``.
        reason: code and message of a refusal, or what differs.
    """

    case: dict[str, Any]
    group: str
    state: str
    reason: str = ""


def read_cases(path: Path = CASES) -> list[dict[str, Any]] | None:
    """The cases in order, or None when the file is not there."""
    if not path.is_file():
        return None
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(cases: list[dict[str, Any]]) -> list[Outcome]:
    """An outcome for each case, in order."""
    return [_outcome(case) for case in cases]


def _outcome(case: dict[str, Any]) -> Outcome:
    expected = case.get("value", {})
    group = "error" if "error" in case else ("bool" if "bool" in expected else "value")
    features, row = {}, {}
    for name, bound in case["bindings"].items():
        ((kind, value),) = bound.items()
        if kind not in TYPES:
            return Outcome(case, group, "refused", f"schema.type: no feature has the type {kind}")
        features[name] = {"type": TYPES[kind], "nullable": True}
        row[name] = float(value) if kind == "double" else value
    rules, problems = one_rule({"cel": case["expr"]}, features)
    if rules is None:
        return Outcome(case, group, "refused", f"{problems[0].code}: {problems[0].message}")
    answers = answers_of(rules, row)
    if group != "bool":
        return Outcome(case, group, "wrong", f"{group} expected, engines answer {answers}")
    right = all(answer is expected["bool"] for answer in answers.values())
    return Outcome(case, group, "pass" if right else "wrong", "" if right else str(answers))


def passes(outcomes: list[Outcome]) -> str:
    """The pass table by file, in Markdown."""
    lines = [
        "| file | boolean | pass | refused | errors refused | other values refused | wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    files = list(dict.fromkeys(outcome.case["file"] for outcome in outcomes))
    for file in [*files, "all"]:
        count = Counter((o.group, o.state) for o in outcomes if file in (o.case["file"], "all"))
        cells = [
            sum(number for (group, _), number in count.items() if group == "bool"),
            count["bool", "pass"],
            count["bool", "refused"],
            count["error", "refused"],
            count["value", "refused"],
            sum(number for (_, state), number in count.items() if state == "wrong"),
        ]
        lines.append(f"| {file} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def total_lines(outcomes: list[Outcome]) -> list[str]:
    """Rows for the table of all suites."""
    groups = {
        "CEL, logic": [o for o in outcomes if o.group == "bool" and o.case["file"] == "logic"],
        "CEL, every boolean": [o for o in outcomes if o.group == "bool"],
        "CEL, an error expected": [o for o in outcomes if o.group == "error"],
        "CEL, other values (no conditions)": [o for o in outcomes if o.group == "value"],
    }
    lines = []
    for name, group in groups.items():
        count = Counter(outcome.state for outcome in group)
        cells = len(group), count["pass"], count["refused"], count["wrong"]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return lines


def outcome_lines(outcomes: list[Outcome]) -> str:
    """Every case with its state and reason, tab-separated."""
    rows = ["file\tsection\tname\tanswer\tstate\treason"]
    for o in outcomes:
        words = [o.case["file"], o.case["section"], o.case["name"], o.group, o.state, o.reason]
        rows.append("\t".join(word.replace("\t", " ").replace("\n", " ") for word in words))
    return "\n".join(rows) + "\n"
