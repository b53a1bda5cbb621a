"""Put on the path of a router by ``bench audit``: decisions are made and answered, not recorded.

The product has no such switch. Everything that exists for the record is left out: the record
itself, its encoding and the append.
"""

from serving.audit import record, segment


def _nothing(*_fields: object, **_named: object) -> None:
    return None


def _append(writer: segment.SegmentWriter, _payload: object, _kind: int = 0) -> int:
    writer.last_seq += 1
    return writer.last_seq


record.AuditRecord = _nothing  # type: ignore[assignment,misc]
record.encode_record = _nothing  # type: ignore[assignment]
segment.SegmentWriter.append = _append  # type: ignore[assignment,method-assign]
