"""react-querybuilder to tables: a query becomes one rule, its rules engine a cascade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.rules import limits
from compiler.rules.importers.conditions import FALSE
from compiler.rules.importers.querybuilder_groups import GroupReader
from compiler.rules.importers.report import (
    Imported,
    RefusedError,
    Report,
    envelope,
    finished,
    refuse,
)
from compiler.rules.names import RESERVED_IDS, RULE_ID
from compiler.schema import Feature, FeatureMap

if TYPE_CHECKING:
    from compiler.rules.importers.conditions import Condition

_OURS = frozenset({"model", "split", "reject", "shadow", "champion_challenger", "rules"})
_ENGINE_KEYS = frozenset(
    {"conditions", "defaultConsequent", "evaluationMode", "id", "path", "disabled", "muted"}
)
_RULE_KEYS = frozenset(
    {
        "antecedent",
        "consequent",
        "conditions",
        "defaultConsequent",
        "id",
        "path",
        "disabled",
        "muted",
    }
)


def import_querybuilder(
    query: Any, features: FeatureMap | None = None, *, then: str = "true", otherwise: str = "false"
) -> Imported:
    """Table of a query or of a rules engine.

    Args:
        query: the decoded JSON.
        features: types of its fields; without them they are inferred from its values, and
            reported.
        then: model of a bare query that matches.
        otherwise: model where it does not.

    Raises:
        ProblemsError: every reason to refuse, with its path.
    """
    report = Report()
    known = dict(features or {})
    if not isinstance(query, dict):
        report.refused(
            "querybuilder.shape", "expected a query or rules engine, got another value", "$"
        )
        report.close()
    guessed = _inferred(query) if features is None else {}
    for name, kind in guessed.items():
        known[name] = Feature(type=kind, nullable=True)  # type: ignore[arg-type]
        report.differs(
            "querybuilder.schema", f"{name} has no schema and is taken as a nullable {kind}", "$"
        )
    reader = _EngineReader(known, report)
    rules: list[dict[str, Any]] = []
    default: dict[str, Any] = {"type": "model", "model": otherwise}
    try:
        if "conditions" in query:
            rules, default = reader.engine(query, "$", 1)
        else:
            consequent = {"type": "model", "model": then}
            antecedent = reader.groups.condition(query, "$")
            rules = [{"id": "rule1", "antecedent": antecedent, "consequent": consequent}]
    except RefusedError as error:
        report.refusals.append(error.problem)
    return finished(envelope(known, rules, default), report)


class _EngineReader:
    """Reads conditions with their consequents."""

    def __init__(self, features: FeatureMap, report: Report) -> None:
        self.groups, self.report = GroupReader(features, report), report

    def engine(
        self, data: dict[str, Any], at: str, depth: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rules and default of a rules engine, or of conditions within a condition."""
        self.keys(data, _ENGINE_KEYS if depth == 1 else _RULE_KEYS, at)
        if data.get("evaluationMode", "cascade") != "cascade":
            refuse(
                "querybuilder.mode",
                f"expected the mode cascade, got {data['evaluationMode']!r}",
                f"{at}.evaluationMode",
                "a model is chosen by the first rule that fires",
            )
        conditions = data["conditions"]
        if not isinstance(conditions, list):
            refuse(
                "querybuilder.shape",
                "expected a list of conditions, got another value",
                f"{at}.conditions",
            )
        rules: list[dict[str, Any]] = []
        for i, item in enumerate(conditions):
            try:
                rule = self.rule(item, f"{at}.conditions[{i}]", len(rules) + 1, depth)
            except RefusedError as error:
                self.report.refusals.append(error.problem)
                continue
            if rule is not None:
                rules.append(rule)
        self.distinct(rules, at)
        if data.get("defaultConsequent") is None:
            self.report.differs(
                "querybuilder.default",
                "where nothing fires, nothing happened; here the request is rejected",
                at,
            )
            return rules, {"type": "reject", "reason": "no condition matched"}
        return rules, self.consequent(data["defaultConsequent"], f"{at}.defaultConsequent")

    def rule(self, item: Any, at: str, number: int, depth: int) -> dict[str, Any] | None:
        """One condition with what follows from it; None where it is muted."""
        if not isinstance(item, dict) or "antecedent" not in item:
            refuse(
                "querybuilder.shape",
                "expected a condition with an antecedent, got another value",
                at,
            )
        if item.get("muted"):
            self.report.differs("querybuilder.muted", "a muted part is left out", at)
            return None
        self.keys(item, _RULE_KEYS, at)
        antecedent = self.antecedent(item["antecedent"], f"{at}.antecedent")
        if item.get("conditions"):
            if item.get("consequent") is not None:
                refuse(
                    "querybuilder.both",
                    "expected a consequent or nested conditions, got both",
                    at,
                    "both would fire; a model is chosen once",
                )
            if depth >= limits.MAX_CASCADE_DEPTH:
                refuse(
                    "rule.too_deep",
                    f"expected at most {limits.MAX_CASCADE_DEPTH} nested cascades, got more",
                    at,
                )
            rules, default = self.engine(item, at, depth + 1)
            consequent = {"type": "rules", "conditions": rules, "defaultConsequent": default}
        else:
            consequent = self.consequent(item.get("consequent"), f"{at}.consequent")
        return {
            "id": self.id_of(item, number, at),
            "antecedent": antecedent,
            "consequent": consequent,
        }

    def antecedent(self, node: Any, at: str) -> Condition:
        """A condition; its reasons to refuse are noted and the reading goes on."""
        try:
            return self.groups.condition(node, at)
        except RefusedError as error:
            self.report.refusals.append(error.problem)
            return FALSE

    def consequent(self, data: Any, at: str) -> dict[str, Any]:
        """Ours as they are; another type without content is the name of a model."""
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            refuse(
                "querybuilder.consequent",
                "expected a consequent with a type, got another value",
                at,
            )
        found = {
            key: value
            for key, value in data.items()
            if key not in ("id", "path", "disabled", "muted")
        }
        if data["type"] in _OURS:
            return found
        if set(found) != {"type"} or not data["type"] or data["type"] == "~":
            refuse(
                "querybuilder.consequent",
                f"expected a consequent of this product, got {data['type']!r} "
                "with content of its own",
                at,
                'write {"type": "model", "model": NAME}',
            )
        self.report.differs(
            "querybuilder.consequent",
            f"the consequent type {data['type']!r} is taken as the name of a model",
            at,
        )
        return {"type": "model", "model": data["type"]}

    def id_of(self, item: dict[str, Any], number: int, at: str) -> str:
        """The id when rules may have it, else ``rule<n>``."""
        name = item.get("id")
        if isinstance(name, str) and RULE_ID.match(name) and name not in RESERVED_IDS:
            return name
        if name is not None:
            self.report.differs(
                "querybuilder.id", f"the id {str(name)[:40]!r} becomes rule{number}", at
            )
        return f"rule{number}"

    def distinct(self, rules: list[dict[str, Any]], at: str) -> None:
        """Ids that are there twice are a reason to refuse."""
        seen: set[str] = set()
        for rule in rules:
            if rule["id"] in seen:
                self.report.refused(
                    "rule.duplicate_id", f"expected ids that differ, got {rule['id']!r} twice", at
                )
            seen.add(rule["id"])

    def keys(self, data: dict[str, Any], known: frozenset[str], at: str) -> None:
        """Keys beyond the shape are left out, and said to be."""
        for key in sorted(set(data) - known):
            self.report.differs("querybuilder.key", f"the key {key} is left out", f"{at}.{key}")
        if data.get("muted"):
            refuse(
                "querybuilder.muted", "expected a rules engine in force, got one that is muted", at
            )
        if data.get("disabled"):
            self.report.differs(
                "querybuilder.disabled",
                "a disabled part stays in force: the word only stops editing",
                at,
            )


def _inferred(query: Any) -> dict[str, str]:
    """Types of fields whose literal values are all of one JSON type."""
    kinds: dict[str, set[str]] = {}
    stack: list[Any] = [query]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        if not isinstance(node, dict):
            continue
        stack.extend(part for key, part in node.items() if key != "value")
        name = node.get("field")
        if (
            isinstance(name, str)
            and node.get("valueSource", "value") == "value"
            and "operator" in node
        ):
            value = node.get("value")
            found = kinds.setdefault(name, set())
            if node["operator"] not in ("null", "notNull"):
                found.update(
                    _kind(item) for item in (value if isinstance(value, list) else [value])
                )
    return {
        name: next(iter(found))
        for name, found in kinds.items()
        if len(found) == 1 and "" not in found
    }


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "float"
    return "string" if isinstance(value, str) else ""
