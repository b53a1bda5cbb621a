"""What CEL texts may cost: one text, and all texts of a table together."""

from __future__ import annotations

from compiler.rules import limits

MAX_STEPS = 20_000
"""Parts evaluated for one text, macros written out and constants weighed."""
MAX_TABLE_STEPS = 1_000_000
"""The same for all texts of a table together."""


class Budget:
    """What the CEL texts of one table may still take.

    Attributes:
        steps: parts to evaluate.
        size: conditions to become.
    """

    def __init__(self) -> None:
        self.steps, self.size = MAX_TABLE_STEPS, limits.MAX_NODES
