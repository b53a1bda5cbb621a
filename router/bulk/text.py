"""What NDJSON and CSV share: the slow look at rows that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.errors import AppError, ProblemsError
from compiler.schema import CONTEXT_PREFIX
from router.bulk.blocks import Bad
from router.wire.native import Row

if TYPE_CHECKING:
    from router.endpoint import Endpoint


def refused(error: AppError, row: Row | None = None) -> Bad:
    """What the online answer to a row would have said.

    Args:
        error: what the decoder had against it.
        row: its outer shape, when that could be read.
    """
    code, message, at = error.code, error.message, error.at
    if isinstance(error, ProblemsError) and error.problems:
        first = error.problems[0]
        code, message, at = first.code, first.message, first.at
    place = f" - at {at}" if at else ""
    if row is None:
        return Bad(code, message + place)
    return Bad(code, message + place, bytes(row.features), row.id, row.subject)


def take_slowly(endpoint: Endpoint, row: Row) -> dict[str, Any] | Bad:
    """Values of one row by feature name, by the decoder that words every problem."""
    try:
        plain, context, _ = endpoint.decode_slow(row)
    except AppError as error:
        return refused(error, row)
    values = {name: getattr(plain, name) for name in endpoint.plain.names}
    for name in endpoint.context.names:
        values[CONTEXT_PREFIX + name] = getattr(context, name)
    return values
