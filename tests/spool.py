"""A spool with its writer, shippers in this process or their own, and the rows they lead to.

Fixtures here are imported by the ``conftest.py`` of the folders that use them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from serving.audit.record import SCHEMA_VERSION, AuditRecord, encode_record, uuid7_source
from serving.audit.segment import SegmentWriter
from serving.audit.shipper import Shipper
from serving.settings import ShipperSettings

SMALL = 64 * 1024
SHIP = """
import sys
import msgspec
from serving.audit.shipper import run
from serving.settings import ShipperSettings
run(msgspec.json.decode(sys.argv[1], type=ShipperSettings, dec_hook=lambda t, v: t(v)))
"""


class Source:
    """Makes records and remembers what was acknowledged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.next_id = uuid7_source(0)
        self.acknowledged: list[bytes] = []

    def writer(self, worker: int = 0, **options: Any) -> SegmentWriter:
        options.setdefault("segment_bytes", SMALL)
        return SegmentWriter(self.root, "n1", worker, **options)

    def record(self, **changes: Any) -> AuditRecord:
        now = time.time_ns()
        fields: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "id": self.next_id(now),
            "received_ns": now,
            "decided_ns": now + 30_000,
            "endpoint": "credit",
            "release": 7,
            "rule": "small",
            "unknown": (),
            "model": "quick_approval",
            "version": 3,
            "package_digest": "sha256:" + "ab" * 32,
            "key_id": "key1",
            "request_id": None,
            "subject_ref": "k1:abc",
            "decision": "approve",
            "decision_rule": "low_risk",
            "idempotency_key": None,
            "part": None,
            "status": 200,
            "durability": "process",
            "retention_class": "default",
            "features": b'{"amount":2000.0,"purpose":"car"}',
            "context": None,
            "defaults": (),
            "outputs": b'{"label":"good"}',
            "error": None,
            "latency_us": 31,
            "explain": 0,
        }
        return AuditRecord(**{**fields, **changes})

    def append(self, writer: SegmentWriter, count: int = 1, **changes: Any) -> None:
        for _ in range(count):
            record = self.record(**changes)
            writer.append(encode_record(record))
            self.acknowledged.append(record.id)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "spool")


@pytest.fixture
def settings(source: Source, database_url: str) -> ShipperSettings:
    return ShipperSettings(
        database_url, source.root, "n1", linger_ms=1, poll_ms=1, backoff_max_s=0.1, drain_s=10
    )


async def drain(settings: ShipperSettings, **options: Any) -> Shipper:
    """Ship everything that is there with a shipper in this process."""
    shipper = Shipper(settings, **options)
    shipper.stop()
    await shipper.run()
    return shipper


Start = Callable[[ShipperSettings], subprocess.Popen[bytes]]


@pytest.fixture
def start_shipper() -> Iterator[Start]:
    """Starts shipper processes and ends them with the test."""
    children: list[subprocess.Popen[bytes]] = []

    def start(settings: ShipperSettings) -> subprocess.Popen[bytes]:
        text = msgspec.json.encode(settings, enc_hook=str).decode()
        children.append(subprocess.Popen([sys.executable, "-c", SHIP, text]))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


async def fetch(url: str, query: str, *args: Any) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


async def stored_ids(url: str) -> list[bytes]:
    """Ids of all record rows, duplicates kept."""
    return [row["id"].bytes for row in await fetch(url, "SELECT id FROM audit_records")]
