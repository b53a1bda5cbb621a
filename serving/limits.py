"""Limits on models of one process; imports nothing, so that a supervisor can hand them down."""

from __future__ import annotations

from msgspec import Struct

INLINE_LIMIT_US = 300.0
"""A model that costs more a row is not scored on the event loop."""


class BatchSettings(Struct, frozen=True):
    """Limits of one batcher.

    Attributes:
        max_rows: rows of one run; a call with more rows is a run of its own.
        max_queue: rows that may wait; more are refused at once.
        threads: runs at the same time.
        max_wait_s: longest wait for company.
    """

    max_rows: int = 64
    max_queue: int = 1024
    threads: int = 1
    max_wait_s: float = 0.0005


class ModelSettings(Struct, frozen=True):
    """How the models of one process are kept and scored.

    Attributes:
        memory_bytes: limit for all loaded models together.
        inline_us: models that cost more are scored by a batcher, off the event loop.
        batching: limits of each batcher.
    """

    memory_bytes: int = 4 << 30
    inline_us: float = INLINE_LIMIT_US
    batching: BatchSettings = BatchSettings()
