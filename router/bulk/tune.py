"""Batch size by trying: doubled until more rows at once are no longer faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SMALLEST, LARGEST = 2048, 32_768
ENOUGH = 1.03
"""A larger batch must be this much faster to be taken: it costs memory."""


def tuned_rows(
    score: Callable[[pa.RecordBatch], object],
    sample: pa.RecordBatch,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Rows to score at once.

    Args:
        score: scores a batch.
        sample: rows of the job's own input.
        clock: steady, in seconds.
    """
    best, speed = SMALLEST, 0.0
    size = SMALLEST
    while size <= LARGEST and (size == SMALLEST or size <= sample.num_rows):
        batch = sample.slice(0, size)
        if batch.num_rows == 0:
            break
        took = []
        for _ in range(2):  # the first may still be warming up
            start = clock()
            score(batch)
            took.append(clock() - start)
        found = batch.num_rows / max(min(took), 1e-9)
        if found > speed * ENOUGH:
            best, speed = size, found
        elif found < speed:
            break
        size *= 2
    return best
