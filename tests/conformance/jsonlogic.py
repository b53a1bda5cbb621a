"""JsonLogic's public suites through the importer: equal answer, or a refusal, or a told difference.

The schema of a case comes from its data; its answer is read from the route that every engine takes.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec import Struct

from compiler.errors import ProblemsError
from compiler.rules.ast import ModelConsequent
from compiler.rules.importers.infer import inferred
from compiler.rules.importers.jsonlogic import import_jsonlogic
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature, FeatureMap
from tests.conformance.tables import routes_of

OWN = Path(__file__).parent.parent / "data" / "jsonlogic"
CASES = Path(os.environ.get("JSONLOGIC_SUITES", OWN))
OUTCOMES = OWN.with_name("jsonlogic_outcomes.tsv")


class Outcome(Struct, frozen=True):
    """What became of one case.

    Attributes:
        file: the suite it is from.
        number: its place there, from 1.
        case: its fields.
        state: ``equal``, ``refused``, ``reported`` (another answer, and a difference was told) or
            ``wrong``.
        reason: of a refusal, or what differs.
    """

    file: str
    number: int
    case: dict[str, Any]
    state: str
    reason: str = ""


def read_cases(folder: Path | None = None) -> list[tuple[str, int, dict[str, Any]]] | None:
    """(file, number, case) in order, or None when the folder holds none."""
    folder = CASES if folder is None else folder
    found = []
    for path in sorted(folder.rglob("*.json")):
        cases = [case for case in json.loads(path.read_text()) if isinstance(case, dict)]
        name = path.relative_to(folder).as_posix()
        found += [(name, number, case) for number, case in enumerate(cases, 1)]
    return found or None


def run(cases: list[tuple[str, int, dict[str, Any]]]) -> list[Outcome]:
    """An outcome for each case, in order."""
    return [Outcome(file, number, case, *judge(case)) for file, number, case in cases]


def schema_of(rule: Any, data: Any) -> FeatureMap:
    """Features of a case, all nullable: plain values of its data, else what the rule compares."""
    types = {bool: "bool", int: "float", float: "float", str: "string"}
    fields = data.items() if isinstance(data, dict) else ()
    found = {
        name: Feature(type=types[type(value)], nullable=True)  # type: ignore[arg-type]
        for name, value in fields
        if type(value) in types and name.isidentifier()
    }
    return {**{name: feature for name, (feature, _) in inferred(rule).items()}, **found}


def judge(case: dict[str, Any]) -> tuple[str, str]:
    """State and reason of a case."""
    data = case.get("data")
    try:
        found = import_jsonlogic(case["rule"], schema_of(case["rule"], data))
    except ProblemsError as error:
        return "refused", f"{error.problems[0].code}: {error.problems[0].message}"
    rules = compile_rules(found.document)
    row = {name: data.get(name) if isinstance(data, dict) else None for name in rules.features}
    routes = set(routes_of(rules, row).values())
    answers = [_answer(rules.consequents[index]) for index in routes]
    expected = case.get("result", "an error")
    if len(answers) == 1 and _same(answers[0], expected):
        return "equal", ""
    told = "; ".join(difference.message for difference in found.differences)
    state = "reported" if told else "wrong"
    return state, f"expected {json.dumps(expected)}, got {json.dumps(answers)}" + (
        f" ({told})" if told else ""
    )


def _answer(consequent: Any) -> Any:
    if not isinstance(consequent, ModelConsequent):
        return None
    return {"true": True, "false": False}.get(consequent.model, consequent.model)


def _same(answer: Any, expected: Any) -> bool:
    return type(answer) is type(expected) and bool(answer == expected)


def passes(outcomes: list[Outcome]) -> str:
    """The pass table by file, in Markdown."""
    lines = [
        "| suite | cases | equal | refused | other answer, reported | silent difference |",
        "|---|---|---|---|---|---|",
    ]
    for file in [*dict.fromkeys(outcome.file for outcome in outcomes), "all"]:
        count = Counter(o.state for o in outcomes if file in (o.file, "all"))
        cells = [
            sum(count.values()),
            *(count[s] for s in ("equal", "refused", "reported", "wrong")),
        ]
        lines.append(f"| {file} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def total_lines(outcomes: list[Outcome]) -> list[str]:
    """Row for the table of all suites."""
    count = Counter(outcome.state for outcome in outcomes)
    cells = len(outcomes), count["equal"], count["refused"], count["wrong"] + count["reported"]
    return ["| JsonLogic, imported | " + " | ".join(map(str, cells)) + " |"]


def outcome_lines(outcomes: list[Outcome]) -> str:
    """Every case with its state and reason, tab-separated."""
    rows = ["suite\tnumber\tdescription\tstate\treason"]
    for o in outcomes:
        words = [o.file, str(o.number), str(o.case.get("description", "")), o.state, o.reason]
        rows.append("\t".join(word.replace("\t", " ").replace("\n", " ") for word in words))
    return "\n".join(rows) + "\n"
