"""What an operator watches of a node's spool: depth, lag, exposure, room left, gaps.

The shipper's report goes stale when the shipper dies, so lag and exposure are also counted from the
report's own age: a dead shipper is not a quiet one.
"""

from __future__ import annotations

from pathlib import Path

from serving.audit.room import spool_bytes
from serving.audit.status import read_status
from serving.audit.tail import list_segments

MS_NS = 1_000_000
US_PER_MS = 1000
SECONDS_PER_HOUR = 3600


def spool_gauges(folder: Path, now_ns: int) -> dict[str, int]:
    """Values by metric name; seconds in microseconds, as counters hold them.

    Args:
        folder: the node's spool folder.
        now_ns: wall clock.

    Cost: one listing of the folder; call it per scrape, in a thread.
    """
    if not folder.is_dir():
        return {}
    found = {
        "interlock_spool_bytes": spool_bytes(folder),
        "interlock_spool_segments": len(list_segments(folder)),
    }
    status = read_status(folder)
    if status is None:
        return found
    age_us = max(0, (now_ns - status.at_ns) // 1000)
    found |= {
        "interlock_shipper_report_age_seconds": age_us,
        "interlock_shipper_lag_seconds": status.exposure_ms * US_PER_MS + age_us,
        "interlock_shipper_segments_waiting": status.segments,
        "interlock_shipper_records_total": status.shipped,
        "interlock_shipper_quarantined_total": status.quarantined,
        "interlock_shipper_dropped_total": status.dropped,
        "interlock_shipper_failures_total": status.failures,
        "interlock_shipper_alarms": len(status.alarms),
    }
    if status.hours_left is not None:
        seconds = int(status.hours_left * SECONDS_PER_HOUR * 1e6)
        found["interlock_spool_full_in_seconds"] = seconds
    return found
