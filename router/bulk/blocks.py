"""Blocks: the rows that are scored at once, and those of them that are no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from compiler.schema import CONTEXT_PREFIX, FeatureMap
from router.bulk.units import Unit

if TYPE_CHECKING:
    import pyarrow as pa

    from router.endpoint import Endpoint

ID, SUBJECT, SPLIT = "_id", "_subject", "_split_id"
RESERVED = (ID, SUBJECT, SPLIT)
CONTEXT = "_context."
"""Reserved columns of files: the caller's own id, whom the row is about, context features."""


class Reading(Struct, frozen=True, eq=False):
    """How the files of a job are read.

    Attributes:
        endpoint: whose features the rows have.
        keys: columns carried through.
        batch_rows: rows of a block; the last one of a unit may be smaller.
    """

    endpoint: Endpoint
    keys: tuple[str, ...]
    batch_rows: int


class Bad(Struct, frozen=True):
    """A row that cannot be scored.

    Attributes:
        code: problem code.
        message: what is wrong with it.
        features: received bytes of its features, when there was such an object.
        id: the caller's own id, when it could be read.
        subject: whom it is about, when it could be read.
    """

    code: str
    message: str
    features: bytes | None = None
    id: str | None = None
    subject: str | None = None

    def __str__(self) -> str:
        """As the ``error`` column has it."""
        return f"{self.code}: {self.message}"


class Block(Struct, frozen=True):
    """Consecutive rows of one unit.

    Attributes:
        unit: they belong to.
        last: nothing of the unit follows.
        first_row: number of the first row within the file.
        rows: all rows, also the bad ones.
        batch: columns of the sound rows: features and reserved columns.
        bad: by place within the block.
        keys: key columns of all rows; None without any.
    """

    unit: Unit
    last: bool
    first_row: int
    rows: int
    batch: pa.RecordBatch
    bad: dict[int, Bad] = {}
    keys: pa.RecordBatch | None = None


def wanted_columns(features: FeatureMap) -> dict[str, str]:
    """Columns of a file that are read, and the feature that each holds."""
    return {
        CONTEXT + name.removeprefix(CONTEXT_PREFIX) if name.startswith(CONTEXT_PREFIX) else name: (
            name
        )
        for name in features
    }
