"""Audit records and their ids."""

import uuid
from datetime import UTC, datetime

import msgspec

from serving.audit.record import (
    SCHEMA_VERSION,
    AuditRecord,
    decode_record,
    encode_record,
    uuid7_ms,
    uuid7_source,
)

NOW_NS = 1_790_000_000_123_456_789


def record(**changes):
    fields = {
        "schema_version": SCHEMA_VERSION,
        "id": uuid7_source(1)(NOW_NS),
        "received_ns": NOW_NS,
        "decided_ns": NOW_NS + 40_000,
        "endpoint": "credit",
        "release": 7,
        "rule": "small",
        "unknown": ("thin_file",),
        "model": "quick_approval",
        "version": 3,
        "package_digest": "sha256:" + "ab" * 32,
        "key_id": "key1",
        "request_id": None,
        "subject_ref": None,
        "decision": "approve",
        "decision_rule": "low_risk",
        "idempotency_key": None,
        "part": None,
        "status": 200,
        "durability": "process",
        "retention_class": "default",
        "features": b'{"amount":2000}',
        "context": None,
        "defaults": (),
        "outputs": b'{"label":"good"}',
        "error": None,
        "latency_us": 40,
        "explain": 0,
    }
    return AuditRecord(**{**fields, **changes})


def test_record_survives_its_encoding():
    original = record()
    assert decode_record(encode_record(original)) == original


def test_record_of_an_older_writer_without_the_last_fields_still_decodes():
    shorter = msgspec.msgpack.encode(msgspec.structs.astuple(record())[:-3])
    assert decode_record(shorter).rows == 1


def test_id_is_a_version_7_uuid_with_the_time_it_was_given():
    identifier = uuid7_source(3)(NOW_NS)
    parsed = uuid.UUID(bytes=identifier)
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert uuid7_ms(identifier) == NOW_NS // 1_000_000
    assert datetime.fromtimestamp(uuid7_ms(identifier) / 1000, UTC).year == 2026


def test_ids_of_one_source_differ_while_time_stands_still():
    source = uuid7_source(0)
    ids = [source(NOW_NS) for _ in range(5000)]
    assert len(set(ids)) == len(ids)


def test_id_of_a_later_millisecond_sorts_behind():
    source = uuid7_source(0)
    ids = [source(NOW_NS + k * 1_000_000) for k in range(100)]
    assert sorted(ids) == ids


def test_ids_stay_unique_when_the_clock_is_stepped_back_over_the_same_time():
    source = uuid7_source(0)
    hour_ns = 3_600_000_000_000
    times = [NOW_NS + k * 1000 for k in range(3000)]
    ids = [source(t) for t in times] + [source(t + hour_ns) for t in times]
    ids += [source(t) for t in times]
    assert len(set(ids)) == len(ids)


def test_ids_of_workers_of_one_node_never_meet():
    first, second = uuid7_source(1), uuid7_source(2)
    assert {first(NOW_NS) for _ in range(500)}.isdisjoint({second(NOW_NS) for _ in range(500)})
