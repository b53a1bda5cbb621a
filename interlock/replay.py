"""Decide again: a recorded request through the same code, the same release and the same packages.

The router's own decider does it, on a spool and counters of its own in a temporary folder, so a
replay is not a second implementation that could be wrong in its own way.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, Struct

from compiler.errors import AppError
from router.decide import Decider
from router.desk import Desk
from router.metrics.slots import Counters
from router.release.build import assemble
from router.release.spec import ReleaseContent
from router.subject import SubjectHasher
from router.wire.native import Row
from serving.audit.record import AuditRecord, decode_record
from serving.audit.recover import scan
from serving.audit.seal import SEALED_MARK
from serving.audit.segment import SegmentWriter
from serving.engine import Engine
from serving.store import ArtifactStore

RECORD = """
SELECT r.*, (SELECT content FROM releases AS l WHERE l.endpoint = r.endpoint
                AND l.number = r.release) AS content
  FROM audit_records AS r WHERE r.id = $1
"""
COMPARED = (
    "rule", "unknown", "model", "version", "package_digest", "decision", "decision_rule",
    "defaults", "reason", "status",
)  # fmt: skip
COMPARED_IN_PARTS = ("rule", "model", "version", "package_digest", "decision", "decision_rule")
"""What a columnar part keeps of each row."""
CLOSE = 1e-6


class ReplayError(AppError):
    """The record cannot be decided again."""

    code = "audit.replay"


class Difference(Struct, frozen=True):
    """One field that came out differently."""

    field: str
    recorded: Any
    replayed: Any


class Replay(Struct, frozen=True):
    """Outcome of a replay.

    Attributes:
        verdict: ``bit-equal``; ``equal within 1e-6`` when only last bits of outputs differ, as on
            another processor or runtime; else ``different``.
        differences: what is not bit-equal.
        outputs: what the model answers now.
    """

    record: str
    verdict: Literal["bit-equal", "equal within 1e-6 (other CPU/runtime)", "different"]
    differences: tuple[Difference, ...]
    outputs: Any


async def read_case(connection: asyncpg.Connection, record: Any) -> Mapping[str, Any]:
    """The record with the content of its release.

    Raises:
        ReplayError: not there, or not a decision.
    """
    row = await connection.fetchrow(RECORD, record)
    if row is None:
        raise ReplayError(f"there is no record {record}", code="record.unknown")
    if row["status"] != 200:
        raise ReplayError(f"expected a decision, got status {row['status']}", at=str(record))
    if row["content"] is None:
        raise ReplayError(f"release {row['release']} of {row['endpoint']} is not known")
    return dict(row)


def is_sealed(case: Mapping[str, Any]) -> bool:
    """Whether features have to be opened by their key before they can be decided about."""
    return SEALED_MARK in case["features"]


def opened(case: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The case with its features in the clear.

    Args:
        case: sealed.
        found: answer of the control plane to a reading with a reason.

    Raises:
        ReplayError: a key is destroyed.
    """
    if found["sealed"]:
        raise ReplayError(
            f"expected features that can be opened, the keys of {', '.join(found['sealed'])} are "
            "destroyed",
            code="audit.erased",
            at=str(case["id"]),
            hint="the person was erased; the decision stays proved, it cannot be repeated",
        )
    return {**case, "features": msgspec.json.encode(found["features"])}


def replay(
    case: Mapping[str, Any],
    store: ArtifactStore,
    subject: str | None = None,
    compared: tuple[str, ...] = COMPARED,
) -> Replay:
    """Decide a recorded request again and compare.

    Args:
        case: from :func:`read_case`, times in microseconds.
        store: holds the packages of the release.
        subject: whom it was about; only a release with a split needs it.
        compared: fields of the record besides its outputs.

    Raises:
        AppError: the packages are not there, or the request is refused now.
    """
    content = msgspec.json.decode(case["content"], type=ReleaseContent)
    # Protected values are kept apart from the record; neither rules nor models read them.
    features = {
        name: msgspec.structs.replace(each, nullable=True) if each.protected else each
        for name, each in content.features.items()
    }
    content = msgspec.structs.replace(content, features=features)
    models = {
        ref.name: Engine.load(store.fetch(ref.package), expected_digest=ref.package)
        for ref in content.models
    }
    endpoint = assemble(content, "", models)
    again = _decide(Decider, endpoint, case, subject)
    differences = tuple(
        Difference(name, case[name], getattr(again, name))
        for name in compared
        if _plain(case[name]) != _plain(getattr(again, name))
    )
    outputs = None if again.outputs is None else msgspec.json.decode(again.outputs)
    recorded = None if case["outputs"] is None else msgspec.json.decode(case["outputs"])
    if case["outputs"] == again.outputs and not differences:
        return Replay(str(case["id"]), "bit-equal", (), outputs)
    if case["outputs"] != again.outputs:
        close = not differences and _close(recorded, outputs)
        differences += (Difference("outputs", recorded, outputs),)
        if close:
            verdict: Any = "equal within 1e-6 (other CPU/runtime)"
            return Replay(str(case["id"]), verdict, differences, outputs)
    return Replay(str(case["id"]), "different", differences, outputs)


def _decide(
    decider: type[Decider], endpoint: Any, case: Mapping[str, Any], subject: str | None
) -> AuditRecord:
    with tempfile.TemporaryDirectory(prefix="il-replay-") as name:
        folder = Path(name)
        spool = SegmentWriter(folder, "replay", 0, segment_bytes=1 << 20)
        counters = Counters(folder / "metrics", 0)
        try:
            desk = Desk("replay", 0, spool, counters, SubjectHasher(b"replay only"))
            context = case["context"]
            row = Row(
                msgspec.Raw(case["features"]),
                id=case["request_id"],
                subject=subject,
                context=UNSET if context is None else msgspec.Raw(context),
            )
            trail = (case["key_id"], case["received_at"] * 1000, time.perf_counter_ns(), None, None)
            decider(endpoint, desk).one(row, trail)
        finally:
            spool.close()
            counters.close()
        path = next((folder / "replay").glob("*.seg"))
        return [decode_record(payload) for _, _, payload in scan(path)][-1]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _close(recorded: Any, again: Any) -> bool:
    """Same shape and words, numbers within ``CLOSE``."""
    if isinstance(recorded, dict) and isinstance(again, dict):
        return recorded.keys() == again.keys() and all(
            _close(recorded[name], again[name]) for name in recorded
        )
    if isinstance(recorded, float | int) and isinstance(again, float | int):
        return abs(recorded - again) <= CLOSE
    return bool(recorded == again)


def reasons(case: Mapping[str, Any], store: ArtifactStore) -> tuple[str, ...]:
    """Why the model answered as it did, in words, the strongest first.

    Raises:
        ReplayError: no model answered.
        AppError: its package is not there, or cannot be explained.
    """
    from serving.explain.explainer import load_explainer
    from serving.explain.reasons import in_words

    digest = case["package_digest"]
    if digest is None:
        raise ReplayError("expected a decision of a model, this one was a reject")
    content = msgspec.json.decode(case["content"], type=ReleaseContent)
    values = msgspec.json.decode(case["features"])
    explainer = load_explainer(store.fetch(digest), expected_digest=digest)
    return in_words(explainer.explain(values), values, content.features, adverse=False)
