"""What of a request may stand in its record: protected values apart, sensitive ones sealed."""

from __future__ import annotations

from typing import Any, Protocol

import asyncpg
import msgspec

from serving.audit.record import AuditRecord

_RawObject = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_RawObject).decode
_encode = msgspec.json.Encoder().encode


class Privacy(Protocol):
    """Decides what is stored of a record's features.

    Attributes:
        wanted: keys that were lacking; fetch them and build again.
    """

    wanted: set[str]

    def stored(self, record: AuditRecord) -> tuple[bytes, dict[str, Any] | None]:
        """Features as they are stored, and protected values that are kept apart."""
        ...

    async def fetch(self, connection: asyncpg.Connection) -> None:
        """Get what is wanted."""
        ...

    def forget(self) -> None:
        """Believe no cached key any more."""
        ...


def split_protected(
    features: bytes, protected: tuple[str, ...]
) -> tuple[bytes, dict[str, Any] | None]:
    """Take protected values out of a features object.

    Values that stay keep their exact text (``1.0`` is not rewritten), so that a replay sees what
    the worker saw.

    Args:
        features: received JSON object.
        protected: names that the release marks.

    Returns:
        The object without them (unchanged bytes when there are none), and the values taken out.

    >>> split_protected(b'{"age":31,"amount":2.50}', ("age",))
    (b'{"amount":2.50}', {'age': 31})
    """
    if not protected:
        return features, None
    values = _decode(features)
    taken = {name: msgspec.json.decode(values.pop(name)) for name in protected if name in values}
    return (_encode(values), taken) if taken else (features, None)


class SplitOnly:
    """Keeps protected values apart; without a master key nothing can be sealed."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()

    def stored(self, record: AuditRecord) -> tuple[bytes, dict[str, Any] | None]:
        """Features as they are stored, and protected values that are kept apart."""
        if record.sensitive:
            raise ValueError("the release marks features sensitive, and there is no master key")
        return split_protected(record.features, record.protected)

    async def fetch(self, connection: asyncpg.Connection) -> None:
        """Nothing is ever wanted."""

    def forget(self) -> None:
        """Nothing is kept."""
