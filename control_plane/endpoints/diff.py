"""What a draft changes: the routes of real requests under the release in service and under it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pyarrow.parquet as pq
from msgspec import Struct

from compiler.errors import AppError
from compiler.rules import ast
from compiler.rules.compiled import CompiledRules
from compiler.rules.diff.outcomes import outcome_of, rule_of, words_of
from compiler.rules.diff.report import DiffError, TableDiff, diff_tables
from compiler.rules.pipeline import compile_rules
from compiler.rules.splits import assign
from compiler.schema import CONTEXT_PREFIX, FeatureMap, OutputSchema
from control_plane.datasets.files import SnapshotFiles
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.assemble import assemble, read_manifest
from control_plane.endpoints.contract import broken_promises
from control_plane.endpoints.drafts import read_draft
from control_plane.endpoints.schemas import (
    Draft,
    DraftDiff,
    Example,
    ModelChange,
    Move,
    Route,
)
from control_plane.errors import InvalidError
from router.release.spec import ReleaseContent

_SQL = sql.load("control_plane.endpoints")

MAX_ROWS = 5_000
"""Requests that are routed twice; the newest ones."""
EXAMPLES = 10


class Row(Struct, frozen=True):
    """One request: flat features (``context.x`` included) and when it came."""

    values: dict[str, Any]
    now_us: int
    record: str | None = None


class Sample(Struct, frozen=True):
    """Requests to compare on, and where they are from."""

    source: str
    rows: Sequence[Row]


async def diff_draft(
    connection: Connection, endpoint: str, artifact_store: str, traffic: str
) -> DraftDiff:
    """Route the same requests by the release in service and by the draft.

    Args:
        connection: for reading.
        endpoint: whose draft.
        artifact_store: where snapshots are, for an endpoint without traffic.
        traffic: ``recent`` or ``none`` (no requests, only the words).

    Raises:
        NotFoundError: no endpoint or draft.
        InvalidError: ``draft.broken``: the draft does not compile; check it first.
    """
    view = await read_draft(connection, endpoint)
    parts = await assemble(connection, view.draft)
    after = _compile(view.draft.rules, parts.features, parts.output)
    live = await connection.fetchrow(_SQL["serving_content"], endpoint)
    before, broken = None, []
    changes = model_changes(None, view.draft)
    decisions: tuple[CompiledRules | None, CompiledRules | None] = (None, None)
    if live is not None:
        content = msgspec.json.decode(bytes(live["content"]), type=ReleaseContent)
        before = _compile(content.rules, content.features, content.output)
        changes = model_changes(content, view.draft)
        if content.decision_table is not None and view.draft.decision_table is not None:
            decisions = (
                _compile(content.decision_table, content.features, content.output, "decision"),
                _compile(view.draft.decision_table, parts.features, parts.output, "decision"),
            )
        if parts.output is not None:
            broken = broken_promises(content, _as_content(content, view.draft, parts))
    sample = Sample("none", ())
    if traffic == "recent":
        sample = await recent(connection, endpoint)
        if not sample.rows:
            sample = await snapshot(connection, view.draft, artifact_store)
    found = await asyncio.to_thread(
        _compare, before, after, sample, live["number"] if live else None, broken
    )
    found.models = changes
    found.routing = await asyncio.to_thread(_meaning, before, after)
    found.decisions = await asyncio.to_thread(_meaning, *decisions)
    return found


def _meaning(before: CompiledRules | None, after: CompiledRules | None) -> TableDiff | None:
    """What changes for every conceivable request, where the two can be compared."""
    if before is None or after is None:
        return None
    try:
        return diff_tables(before, after)
    except DiffError:
        return None


def _as_content(live: ReleaseContent, draft: Draft, parts: Any) -> ReleaseContent:
    return msgspec.structs.replace(
        live, features=parts.features, output=parts.output, policies=draft.policies
    )


def _compile(
    rules: dict[str, Any],
    features: FeatureMap,
    output: OutputSchema | None,
    kind: Literal["routing", "decision"] = "routing",
) -> CompiledRules:
    try:
        return compile_rules(rules, features=features, output=output, kind=kind)
    except AppError as error:
        raise InvalidError(
            f"the draft does not compile: {error.message}",
            code="draft.broken",
            hint="POST .../draft/check lists every problem",
        ) from error


async def recent(connection: Connection, endpoint: str) -> Sample:
    """The newest answered requests of an endpoint, from the evidence of the last week."""
    rows = await connection.fetch(_SQL["recent_requests"], endpoint, MAX_ROWS)
    return Sample("recent", [found for row in rows if (found := _row_of(row)) is not None])


def _row_of(row: Any) -> Row | None:
    """A request of the evidence; None when its features are sealed."""
    try:
        values: dict[str, Any] = msgspec.json.decode(bytes(row["features"]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if row["context"]:
        context: dict[str, Any] = msgspec.json.decode(bytes(row["context"]))
        values |= {CONTEXT_PREFIX + name: value for name, value in context.items()}
    return Row(values, _micros(row["received_at"]), str(row["id"]))


async def snapshot(connection: Connection, draft: Draft, artifact_store: str) -> Sample:
    """Rows that a model was validated on last, else trained on, when nobody called yet."""
    names = sorted(draft.models)
    versions = [draft.models[name] for name in names]
    sources = [
        (row["snapshot"], f"validation {row['number']} of {row['model']}")
        for row in await connection.fetch(_SQL["validated_on"], names, versions)
    ]
    for row in await connection.fetch(_SQL["packages"], names, versions):
        raw = bytes(row["manifest"])
        read_manifest(raw, row["digest"])
        digest = msgspec.json.decode(raw).get("lineage", {}).get("snapshot")
        if digest:
            sources.append((str(digest), f"training of {row['model']}"))
    for digest, use in sources:
        try:
            found = await asyncio.to_thread(_read_snapshot, artifact_store, digest)
        except (AppError, OSError):
            continue  # disposed of, or of another store: the next one will do
        return Sample(f"snapshot {digest} ({use})", found)
    return Sample("none", ())


def _read_snapshot(artifact_store: str, digest: str) -> list[Row]:
    _, path = SnapshotFiles(artifact_store).open(digest)
    now = _micros(datetime.now(UTC))
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(MAX_ROWS), None)
        return [Row(values, now) for values in (batch.to_pylist() if batch else [])]


def _micros(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)


def _compare(
    before: CompiledRules | None,
    after: CompiledRules,
    sample: Sample,
    against: int | None,
    broken: list[Any],
) -> DraftDiff:
    moves: Counter[tuple[Route, Route]] = Counter()
    examples: list[Example] = []
    for row in sample.rows:
        old, new = _route(before, row.values, row.now_us), _route(after, row.values, row.now_us)
        if old.route == new.route and old.rule == new.rule:
            continue
        moves[old, new] += 1
        if old.route != new.route and len(examples) < EXAMPLES:
            examples.append(Example(old, new, _shown(row.values, after), row.record))
    total = len(sample.rows)
    rerouted = sum(n for (old, new), n in moves.items() if old.route != new.route)
    return DraftDiff(
        against=against,
        traffic=sample.source,
        rows=total,
        changed=rerouted,
        share=rerouted / total if total else None,
        moves=[
            Move(old, new, count, count / total)
            for (old, new), count in sorted(moves.items(), key=lambda item: -item[1])
        ],
        examples=examples,
        contract=broken,
    )


def _route(rules: CompiledRules | None, values: Mapping[str, Any], now_us: int) -> Route:
    """Where a request goes; the reference interpreter, so that any value has a meaning.

    The arm of a split is drawn where the request holds its unit; where it does not, the split
    itself is the route, with its weights.
    """
    if rules is None:
        return Route("-", "-")
    index, _ = rules.reference(values, now_us)
    outcome, rule = outcome_of(rules, index), rule_of(rules, index)
    split = outcome[1]
    if isinstance(split, ast.SplitConsequent) and (unit := values.get(split.unit)) is not None:
        arm = split.arms[assign(split, str(unit)).arm]
        outcome = ("consequent", ast.ModelConsequent(arm.model, arm.version))
    return Route(words_of(outcome), rule)


def model_changes(live: ReleaseContent | None, draft: Draft) -> list[ModelChange]:
    """Models whose version is another, that are new, or that are gone."""
    before = {} if live is None else {ref.name: ref.version for ref in live.models}
    return [
        ModelChange(name, before.get(name), draft.models.get(name))
        for name in sorted({*before, *draft.models})
        if before.get(name) != draft.models.get(name)
    ]


def _shown(values: Mapping[str, Any], rules: CompiledRules) -> dict[str, Any]:
    """The values that a reviewer may see: declared, neither sensitive nor protected."""
    return {
        name: values[name]
        for name, feature in rules.features.items()
        if name in values and not feature.sensitive and not feature.protected
    }
