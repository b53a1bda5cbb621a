"""What one table does differently from another: a proof, regions with examples, or neither.

Cells of both tables together stand for all requests; on each of them both tables are evaluated. As
long as all combinations fit the budget, and tests without cells are the same in both tables, "same
meaning" is a proof. Beyond that a sample is searched, most of it where rules were edited, and what
was not found is not called proven.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import Struct

from compiler.errors import AppError
from compiler.rules.diff.alike import same_rule_by_rule
from compiler.rules.diff.atoms import Atoms
from compiler.rules.diff.boxes import MAX_CELLS, Words, boxes_of
from compiler.rules.diff.joint import comparable, joint_scope, schema_changes
from compiler.rules.diff.outcomes import Outcome, by_leaves, moved, outcome_of, rule_of, words_of
from compiler.rules.diff.pair import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compiler.rules.compiled import CompiledRules

Verdict = Literal["same", "differs", "not_proven"]
MAX_REGIONS = 50
MAX_BOXES = 6
TRIES = 20
"""Rows of a region that are put to the reference interpreters before it counts as not shown."""


class DiffError(AppError):
    """The two tables cannot be compared."""

    code = "rules.diff"


class Side(Struct, frozen=True):
    """What one table does with a region."""

    rule: str
    outcome: str


class Region(Struct, frozen=True, omit_defaults=True):
    """Requests whose outcome is another.

    Attributes:
        before: rule and outcome under the old table.
        after: under the new one.
        example: a request of the region, confirmed by the reference interpreter.
        where: the region, one text per box; empty when only the example is known.
        more: boxes that are not listed.
        moved: share of the units that an edited split gives to another arm.
    """

    before: Side
    after: Side
    example: Mapping[str, Any]
    where: tuple[str, ...] = ()
    more: int = 0
    moved: float | None = None


class TableDiff(Struct, frozen=True):
    """Two tables compared.

    Attributes:
        verdict: ``same`` is proved for every request that both schemas accept, ``differs`` shown by
            examples; ``not_proven`` is neither.
        why: why nothing is proved; empty when something is, and all of it.
        regions: by rules of both tables.
        omitted: regions that are not listed.
        schema: what the schemas say differently.
        searched: combinations of cells that were evaluated; 0 when every rule has its twin.
        examples: rows that were evaluated beside them.
    """

    verdict: Verdict
    why: str
    regions: tuple[Region, ...]
    omitted: int
    schema: tuple[str, ...]
    searched: int
    examples: int


def diff_tables(old: CompiledRules, new: CompiledRules, now_us: int | None = None) -> TableDiff:
    """Where two tables have different outcomes.

    Args:
        old: in service.
        new: proposed.
        now_us: time that rules see as now; the present without it.

    Raises:
        DiffError: one is a routing table and the other a decision table, or a shared feature has
            another type.

    Cost: rows of the budget x rules of both tables; about a second for tables of a thousand rules.
    """
    if old.table.kind != new.table.kind:
        raise DiffError(
            f"expected two tables of one kind, got {old.table.kind} and {new.table.kind}",
            hint="compare routing with routing, decision with decision",
        )
    changes = schema_changes(old.features, new.features)
    if not comparable(old.features, new.features):
        raise DiffError(
            f"expected shared features of one type, got: {'; '.join(changes)}",
            hint="give both tables one schema (--schema), or compare what they do with --traffic",
        )
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    scope = joint_scope(old.scope, new.scope)
    defaults = _other_defaults(old, new)
    if not defaults and same_rule_by_rule(old, new, scope, Atoms(scope)):
        return TableDiff("same", "", (), 0, changes, 0, 0)
    pair = Pair(old, new, scope, now_us)
    regions, open_groups = [], 0
    for group in _groups(pair):
        region = _region(pair, *group)
        if region is None:
            open_groups += 1
        else:
            regions.append(region)
    why = defaults or _why(pair, open_groups)
    verdict: Verdict = "differs" if regions else ("not_proven" if why else "same")
    return TableDiff(
        verdict,
        why,
        tuple(regions[:MAX_REGIONS]),
        max(0, len(regions) - MAX_REGIONS),
        changes,
        pair.grid.rows,
        pair.rows,
    )


def _other_defaults(old: CompiledRules, new: CompiledRules) -> str:
    """What is open when the same request, without a feature, is read differently by the two."""
    read = {**old.readers(), **new.readers()}
    other = [
        name
        for name, feature in old.features.items()
        if name in new.features and name in read and feature.default != new.features[name].default
    ]
    if not other:
        return ""
    return (
        f"requests without {', '.join(other)} are read differently: the default is another, and "
        "what is compared are values"
    )


def _why(pair: Pair, open_groups: int) -> str:
    if not pair.grid.complete:
        return (
            f"{pair.combinations:,} combinations of cells are more than the budget of "
            f"{pair.grid.rows:,}; the rest was not looked at"
        )
    if open_groups:
        return (
            f"{open_groups} more conceivable differences hang on arithmetic, text, two features "
            f"or the clock; none of {pair.rows:,} rows shows them"
        )
    return ""


Group = tuple[int, int, "NDArray[np.intp]", "NDArray[np.intp]"]


def _groups(pair: Pair) -> list[Group]:
    """Old leaf, new leaf, combinations and rows of every difference, in the order of the rules."""
    same = _same_outcome(pair.old, pair.new)
    cells, rows = _differing(pair.cells, same), _differing(pair.sampled, same)
    nothing = np.empty(0, np.intp)
    keys = sorted({**cells, **rows}, key=lambda key: [leaf if leaf >= 0 else -leaf for leaf in key])
    return [(*key, cells.get(key, nothing), rows.get(key, nothing)) for key in keys]


def _same_outcome(old: CompiledRules, new: CompiledRules) -> Any:
    known: dict[tuple[int, int], bool] = {}

    def same(before: int, after: int) -> bool:
        key = before, after
        if key not in known:
            known[key] = outcome_of(old, before) == outcome_of(new, after)
        return known[key]

    return same


def _differing(
    decided: tuple[NDArray[np.int16], NDArray[np.int16]], same: Any
) -> dict[tuple[int, int], NDArray[np.intp]]:
    """Rows by the pair of leaves that decide them, where the outcomes differ."""
    return {
        (before, after): rows
        for before, after, rows in by_leaves(*decided)
        if not same(before, after)
    }


def _region(
    pair: Pair, before: int, after: int, cells: NDArray[np.intp], rows: NDArray[np.intp]
) -> Region | None:
    """The region of a pair of leaves; None when no concrete request shows it."""
    old, new = outcome_of(pair.old, before), outcome_of(pair.new, after)
    example = _example(pair, old, new, cells, rows)
    if example is None:
        return None
    where: list[str] = []
    if pair.grid.complete and 0 < len(cells) <= MAX_CELLS:
        codes = np.stack([each[cells] for each in pair.grid.codes.values()], axis=1)
        words = Words(pair.grid.values, pair.conditions, pair.scope, pair.atoms.tests)
        found = boxes_of(map(tuple, codes.tolist()), codes.shape[1])
        where = [words.box(box) for box in found]
    share = moved(old, new)
    return Region(
        Side(rule_of(pair.old, before), words_of(old)),
        Side(rule_of(pair.new, after), words_of(new)),
        example,
        tuple(where[:MAX_BOXES]),
        max(0, len(where) - MAX_BOXES),
        None if share is None else float(share),
    )


def _example(
    pair: Pair, old: Outcome, new: Outcome, cells: NDArray[np.intp], rows: NDArray[np.intp]
) -> dict[str, Any] | None:
    """The first row that both reference interpreters decide as the difference says."""
    tried = [pair.concrete(int(each)) for each in cells[:TRIES]]
    tried += [pair.example(int(each)) for each in rows[:TRIES]]
    for row in tried:
        if pair.reference(row) == (old, new):
            return row
    return None
