"""The columnar function of an endpoint, as jobs call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from router.columnar.decide import ColumnarEndpoint

if TYPE_CHECKING:
    from router.bulk.score import Decide
    from router.endpoint import Endpoint


def columnar(endpoint: Endpoint, subject_ref: Callable[[str], str], now_us: int) -> Decide:
    """The endpoint's columnar function, at the job's time.

    Args:
        endpoint: pinned.
        subject_ref: keyed hash of a subject.
        now_us: clock of all rows, microseconds since the epoch.
    """
    function = ColumnarEndpoint(endpoint, subject_ref=subject_ref)

    def decide(batch: Any, first_row: int, ids: Any) -> Any:
        return function.decide(batch, first_row=first_row, now_us=now_us, ids=ids)

    return decide
