"""What a stream leaves behind: a record per row, or a columnar part per few thousand rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from router.decide import Decider
from router.head import Head
from router.settled import Trail

if TYPE_CHECKING:
    from router.endpoint import Endpoint
    from router.release.spec import Policies


class Evidence:
    """Every row has its own record, appended when it is decided.

    Attributes:
        decider: decides the rows.
    """

    def __init__(self, decider: Decider, key_id: str) -> None:
        self.decider = decider
        self._key_id = key_id

    def trail(self, head: Head) -> Trail:
        """Where a row came from."""
        return self._key_id, time.time_ns(), time.perf_counter_ns(), head.traceparent, None


def keeps_parts(endpoint: Endpoint) -> bool:
    """Whether the release of an endpoint wants many rows to leave columnar parts.

    Parts go to the artifact store as they are, so an endpoint whose records are sealed or split
    keeps single records; so does one that promises that the database has every record, which parts
    are not in.
    """
    features = endpoint.content.features.values()
    private = any(each.sensitive or each.protected for each in features)
    policies = endpoint.policies
    return policies.stream_evidence == "parts" and policies.durability != "shipped" and not private


def forces_parts(policies: Policies) -> bool:
    """Whether the disk has to have a part before its record is: the record is not there alone."""
    return policies.durability != "process"
