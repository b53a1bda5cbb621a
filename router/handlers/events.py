"""``/v1/outcomes`` and ``/v1/overrides``: what came of a decision, and who decided otherwise.

Both become linked events in the audit. A subject is stored as its keyed hash only.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.endpoint import DECODING
from router.errors import BodyError, TooLargeError
from router.head import Head
from router.plane import Answer, Plane
from router.wire.native import Word, shape_error
from serving.audit.record import SCHEMA_VERSION, EventRecord

MAX_EVENTS = 10_000
KINDS = {"outcomes": "outcome", "overrides": "override"}
_json = msgspec.json.encode


class Linked(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One outcome or override.

    Attributes:
        id: id of the decision, as its answer had it.
        subject: whom it is about, when the id is not known.
        at: when it happened; now when absent.
        label: what came of it.
        decision: what was decided instead.
        reason: in words.
    """

    id: UUID | UnsetType = UNSET
    subject: Word | UnsetType = UNSET
    at: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    label: bool | int | float | Word | UnsetType = UNSET
    decision: Word | UnsetType = UNSET
    reason: Annotated[str, Meta(max_length=4000)] | UnsetType = UNSET


_decode_one = msgspec.json.Decoder(Linked).decode
_decode_many = msgspec.json.Decoder(list[Linked]).decode


def events(plane: Plane, head: Head, body: bytes) -> Answer:
    """Keep one event or many; all of them or none."""
    now = time.time_ns()
    bound = plane.bound(head, now)
    if head.encoding:
        body = plane.inflate(head, body)
    assert head.route is not None
    kind = KINDS[head.route.name]
    many = body.lstrip()[:1] == b"["
    try:
        found = _decode_many(body) if many else [_decode_one(body)]
    except DECODING as error:
        raise shape_error(error) from None
    if len(found) > MAX_EVENTS:
        raise TooLargeError(f"expected at most {MAX_EVENTS} events, got {len(found)}")
    for number, each in enumerate(found):
        _check(kind, each, f"[{number}]" if many else "$")
    endpoint = bound.decider.endpoint
    desk = plane.desk
    ids = []
    for each in found:
        event_id = desk.next_id(now)
        desk.event(
            EventRecord(
                SCHEMA_VERSION,
                event_id,
                now if each.at is UNSET else int(each.at.astimezone(UTC).timestamp() * 1e9),
                kind,
                endpoint.name,
                None if each.id is UNSET else each.id.bytes,
                None if each.subject is UNSET else desk.subject_ref(each.subject),
                bound.key.id,
                _json(msgspec.structs.replace(each, subject=UNSET)),
                endpoint.policies.retention_class,
            )
        )
        ids.append(str(UUID(bytes=event_id)))
    return _json({"accepted": len(ids), "events": ids})


def _check(kind: str, event: Linked, at: str) -> None:
    """Refuse an event that says nothing, or about nothing.

    Raises:
        BodyError: it lacks what it is about, or what happened.
    """
    if event.id is UNSET and event.subject is UNSET:
        raise BodyError("expected `id` or `subject`, got neither", at=at)
    if kind == "outcome" and event.label is UNSET:
        raise BodyError("expected `label`, got none", at=at)
    if kind == "override" and (event.decision is UNSET or event.reason is UNSET):
        raise BodyError("expected `decision` and `reason`", at=at)
