"""One row of a columnar part as a case that can be decided again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from compiler.schema import CONTEXT_PREFIX
from interlock.replay import ReplayError
from serving.audit.part_store import read_part
from serving.audit.parts import INPUT
from serving.blobs import BlobStore


def row_case(part: Mapping[str, Any], row: int, artifact_store: str) -> dict[str, Any]:
    """A row of a stream or a bulk job in the form of a record.

    Args:
        part: the record of the part, with the content of its release.
        row: number of the row.
        artifact_store: where parts are.

    Raises:
        ReplayError: the part has no such row, or the row got no decision.
        PartError, StoreError: the part is not there, or not what its record says.
    """
    import pyarrow.compute as pc

    with tempfile.TemporaryDirectory(prefix="il-part-") as folder:
        blobs = BlobStore.open(artifact_store)
        table = read_part(blobs, part["part"], part["rows"], Path(folder))
        found = table.filter(pc.equal(table.column("row"), row)).to_pylist()
    if not found:
        first, last = pc.min_max(table.column("row")).as_py().values()
        raise ReplayError(
            f"expected a row from {first} to {last}, got {row}", code="row.unknown", at="--row"
        )
    values = found[0]
    if values.get("status", 200) != 200:
        raise ReplayError(f"expected a decision, got status {values['status']}", at=f"row {row}")
    outputs = values.get("outputs")
    return {
        **part,
        **{name: values.get(name) for name in ("rule", "model", "version", "package_digest")},
        **{name: values.get(name) for name in ("decision", "decision_rule", "request_id")},
        "id": _id(values.get("id"), part["id"]),
        "features": _features(values),
        "context": _context(values),
        "outputs": outputs.encode() if isinstance(outputs, str) else outputs,
    }


def _id(raw: Any, part: Any) -> str:
    from uuid import UUID

    return str(UUID(bytes=raw)) if isinstance(raw, bytes) else str(raw or part)


def _features(values: Mapping[str, Any]) -> bytes:
    whole = values.get("features")
    if whole is not None:
        return whole.encode() if isinstance(whole, str) else bytes(whole)
    return msgspec.json.encode(
        {
            name.removeprefix(INPUT): value
            for name, value in values.items()
            if name.startswith(INPUT)
            and not name.startswith(INPUT + CONTEXT_PREFIX)
            and value is not None
            and value == value
        }
    )


def _context(values: Mapping[str, Any]) -> bytes | None:
    whole = values.get("context")
    if whole is not None:
        return whole.encode() if isinstance(whole, str) else bytes(whole)
    mark = INPUT + CONTEXT_PREFIX
    found = {
        name.removeprefix(mark): value
        for name, value in values.items()
        if name.startswith(mark) and value is not None
    }
    return msgspec.json.encode(found) if found else None
