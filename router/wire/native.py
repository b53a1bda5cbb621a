"""The native request: typed decoding of its outer shape, and what is wrong with it in words."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from router.errors import BodyError, TooLargeError

MAX_WORD = 512
Word = Annotated[str, Meta(max_length=MAX_WORD)]
Timeout = Annotated[int, Meta(ge=1, le=600_000)]


class Row(Struct, forbid_unknown_fields=True, gc=False):
    """One thing to decide about.

    Attributes:
        features: received bytes of the JSON object, decoded by the endpoint.
        id: the caller's own id, echoed as ``request_id``.
        subject: whom it is about; stored as a keyed hash.
        split_id: unit of splits, the subject when absent.
        context: received bytes of the context features.
        explain: an explanation is wanted.
        timeout_ms: the caller's deadline.
    """

    features: Raw
    id: Word | None = None
    subject: Word | None = None
    split_id: Word | None = None
    context: Raw | UnsetType = UNSET
    explain: bool = False
    timeout_ms: Timeout | None = None


class Predict(Struct, forbid_unknown_fields=True, gc=False):
    """The body of a prediction: one row, or ``rows``."""

    features: Raw | UnsetType = UNSET
    id: Word | None = None
    subject: Word | None = None
    split_id: Word | None = None
    context: Raw | UnsetType = UNSET
    explain: bool = False
    timeout_ms: Timeout | None = None
    rows: list[Row] | UnsetType = UNSET


_decode_row = msgspec.json.Decoder(Row).decode
_decode_predict = msgspec.json.Decoder(Predict).decode


def decode_row(body: bytes) -> Row:
    """The single row of a body; cheap, and fails on everything else.

    Raises:
        msgspec.MsgspecError: not one row; :func:`decode_rows` knows what it is.
    """
    return _decode_row(body)


def decode_rows(body: bytes, max_rows: int) -> list[Row] | Row:
    """The row or the rows of a body.

    Raises:
        BodyError: not JSON, not the shape, neither or both of ``features`` and ``rows``.
        TooLargeError: more rows than the endpoint takes.
    """
    try:
        call = _decode_predict(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise shape_error(error) from None
    if call.rows is UNSET:
        if call.features is UNSET:
            raise BodyError("expected `features` or `rows`, got neither", at="$")
        return Row(
            call.features,
            call.id,
            call.subject,
            call.split_id,
            call.context,
            call.explain,
            call.timeout_ms,
        )
    if call.features is not UNSET:
        raise BodyError("expected `features` or `rows`, got both", at="$")
    if len(call.rows) > max_rows:
        raise TooLargeError(
            f"expected at most {max_rows} rows, got {len(call.rows)}",
            code="body.too_many_rows",
            at="rows",
            hint="send several requests, or use the stream",
        )
    return call.rows


def shape_error(error: Exception) -> BodyError:
    """What a decoder had against a body, as a problem of ours."""
    if isinstance(error, RecursionError):
        return BodyError("the JSON is nested too deeply", code="body.json")
    if isinstance(error, UnicodeDecodeError):
        return BodyError(f"the body is not UTF-8: {error.reason}", code="body.json")
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        message, _, path = text.partition(" - at `")
        return BodyError(message.lower().replace("`", "") or text, at=path.rstrip("`"))
    return BodyError(f"the body is not JSON: {text}", code="body.json")
