"""The one table from error class to HTTP status, and the documents made from errors.

Both lanes answer with the bytes made here: problem documents (RFC 9457) on the native API,
``{"error": "text"}`` under ``/v2``.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct

from compiler.errors import AppError, Problem, ProblemsError
from router import errors
from serving.audit.room import SpoolFull
from serving.audit.segment import RecordTooLarge
from serving.batching.batcher import BatcherClosedError, QueueFullError
from serving.batching.batcher import DeadlineError as BatchDeadlineError

STATUS: dict[type[AppError], int] = {
    errors.BodyError: 400,
    errors.FeaturesError: 422,
    errors.KeyMissingError: 401,
    errors.KeyUnknownError: 401,
    errors.ForbiddenError: 403,
    errors.NotFoundError: 404,
    errors.MethodError: 405,
    errors.SlowSenderError: 408,
    errors.AbandonedError: 499,
    errors.ConflictError: 409,
    errors.TooLargeError: 413,
    errors.HeadTooLargeError: 431,
    errors.QuotaError: 429,
    errors.ShedError: 503,
    errors.DeadlineError: 504,
    errors.RequestError: 400,
    QueueFullError: 503,
    BatcherClosedError: 503,
    BatchDeadlineError: 504,
    SpoolFull: 503,
    RecordTooLarge: 413,
    ProblemsError: 422,
    AppError: 500,
}
"""A class without a line of its own has the status of its nearest ancestor."""

CODE_STATUS: dict[str, int] = {"body.json": 400, "body.shape": 400}
"""Codes that keep their status whatever class carries them: shape problems found by a decoder."""

PHRASES = {499: "Client Closed Request"}
"""Statuses that no standard names; they are recorded, nobody is left to read them."""

PROBLEM_JSON = b"application/problem+json"
JSON = b"application/json"
RETRY_AFTER = (b"retry-after", b"1")
CHALLENGE = (b"www-authenticate", b"Bearer")
Headers = tuple[tuple[bytes, bytes], ...]


class Fault(Struct, omit_defaults=True):
    """One entry of ``errors``: where, what was right, what came."""

    at: str
    code: str = ""
    expected: str = ""
    got: str = ""
    detail: str = ""
    hint: str = ""


class ProblemDocument(Struct, omit_defaults=True):
    """RFC 9457, with the stable ``code`` that programs match on."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    at: str = ""
    hint: str = ""
    errors: list[Fault] = []


class V2Error(Struct):
    """The Open Inference Protocol's only error shape."""

    error: str


class Reply(Struct, frozen=True):
    """An answer that is more than a 200 with JSON: what both lanes need to write it."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()
    close: bool = False
    """The connection ends after this answer."""
    code: str = ""
    """Problem code, for counters."""


_encode = msgspec.json.Encoder().encode


def status_of(error: AppError) -> int:
    """The status of an error, by its code or its class."""
    if error.code in CODE_STATUS:
        return CODE_STATUS[error.code]
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def _fault(problem: Problem) -> Fault:
    return Fault(
        problem.at, problem.code, problem.expected, problem.got, problem.message, problem.hint
    )


def document(error: AppError) -> ProblemDocument:
    """The problem document of an error."""
    status = status_of(error)
    found = [_fault(each) for each in error.problems] if isinstance(error, ProblemsError) else []
    return ProblemDocument(
        f"urn:interlock:problem:{error.code}",
        PHRASES.get(status) or HTTPStatus(status).phrase,
        status,
        error.message,
        error.code,
        error.at,
        error.hint,
        found,
    )


def without_values(found: ProblemDocument, names: frozenset[str]) -> ProblemDocument:
    """The document as a record may hold it: it does not repeat the values of these features."""
    if not any(_feature_of(each) in names for each in found.errors):
        return found
    faults = [
        msgspec.structs.replace(each, got="withheld", detail="")
        if _feature_of(each) in names
        else each
        for each in found.errors
    ]
    detail = f"{len(faults)} features do not fit; values of some are withheld"
    return msgspec.structs.replace(found, detail=detail, errors=faults)


def _feature_of(fault: Fault) -> str:
    return fault.at.rpartition(".")[2]


def _headers_of(error: AppError, status: int) -> Headers:
    if status == HTTPStatus.UNAUTHORIZED:
        return (CHALLENGE,)
    if status == HTTPStatus.TOO_MANY_REQUESTS and isinstance(error, errors.QuotaError):
        return ((b"retry-after", str(error.retry_after_s).encode()),)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return (RETRY_AFTER,)
    return ()


def reply(error: AppError, *, v2: bool = False, close: bool = False) -> Reply:
    """The answer to a request that ended in an error of ours."""
    status = status_of(error)
    if v2:
        return Reply(
            status,
            _encode(V2Error(v2_text(error))),
            JSON,
            _headers_of(error, status),
            close,
            error.code,
        )
    body = _encode(document(error))
    return Reply(status, body, PROBLEM_JSON, _headers_of(error, status), close, error.code)


def v2_text(error: AppError) -> str:
    """One line for clients that know nothing but a text."""
    place = f" - at {error.at}" if error.at and error.at not in error.message else ""
    hint = f" ({error.hint})" if error.hint else ""
    return f"{error.code}: {error.message}{place}{hint}"


INTERNAL = AppError(
    "something went wrong here", code="internal", hint="the log of this node names the failure"
)
