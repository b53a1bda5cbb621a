"""Names that rules may use, and the suggestion for one that is almost right."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

from compiler.schema import Feature, FeatureMap, OutputSchema

FEATURE_NAME = re.compile(r"(?:context\.)?[A-Za-z_][A-Za-z0-9_]*\Z")
RULE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}\Z")
OUTPUT_PREFIX = "output."
MAX_SUGGESTED = 100
"""Characters of a word beyond which it is no misspelt name."""
RESERVED_IDS = ("default", "unknown")


def output_features(output: OutputSchema | None) -> FeatureMap:
    """Names that a decision table may use for the model's answer, in canonical form."""
    if output is None:
        return {}
    if output.task == "regression":
        return {"output.value": Feature(type="float")}
    if output.task == "clustering":
        return {"output.cluster": Feature(type="int"), "output.distance": Feature(type="float")}
    found: FeatureMap = {"output.label": Feature(type="enum", values=output.classes)}
    for name in output.classes:
        found[f"output.probability.{name}"] = Feature(type="float", min=0, max=1)
    return found


def canonical_name(name: str, known: FeatureMap) -> str:
    """``probability.x`` is short for ``output.probability.x`` unless a feature has that name."""
    if name not in known and OUTPUT_PREFIX + name in known:
        return OUTPUT_PREFIX + name
    return name


def suggestion(word: str, known: Iterable[str]) -> str:
    """A ``did you mean`` hint, or an empty string."""
    if len(word) > MAX_SUGGESTED:
        return ""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""
