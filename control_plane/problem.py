"""The one table from error class to HTTP status, and the problem documents made from it."""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from compiler.errors import AppError, Problem, ProblemsError
from compiler.identity import RoleError, RosterError
from compiler.package import PackageError
from compiler.schema import SchemaError
from compiler.signing import KeyFileError, SignatureError
from compiler.statements import StatementError
from control_plane import errors
from control_plane.db.migrate import MigrationError
from control_plane.db.pool import DatabaseFailureError

_log = logging.getLogger(__name__)

STATUS: dict[type[AppError], int] = {
    errors.NotSignedInError: 401,
    errors.ForbiddenError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.StaleEditError: 412,
    errors.TooLargeError: 413,
    errors.InvalidError: 422,
    errors.PreconditionError: 428,
    errors.ThrottledError: 429,
    errors.UnavailableError: 503,
    errors.SetupError: 500,
    DatabaseFailureError: 500,
    MigrationError: 500,
    KeyFileError: 500,
    SignatureError: 403,
    RoleError: 403,
    RosterError: 422,
    StatementError: 422,
    PackageError: 422,
    SchemaError: 422,
    ProblemsError: 422,
    AppError: 422,
}
"""A class without a line of its own has the status of its nearest ancestor."""

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(Struct, omit_defaults=True):
    """RFC 9457, with the stable ``code`` that programs match on."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    at: str = ""
    hint: str = ""
    errors: list[Problem] = []


def status_of(error: AppError) -> int:
    """The status of an error, by its class."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def document(error: AppError) -> ProblemDocument:
    """The document for an error of ours."""
    status = status_of(error)
    found = list(error.problems) if isinstance(error, ProblemsError) else []
    return _document(status, error.message, error.code, at=error.at, hint=error.hint, found=found)


def _document(
    status: int,
    detail: str,
    code: str,
    *,
    at: str = "",
    hint: str = "",
    found: list[Problem] | None = None,
) -> ProblemDocument:
    return ProblemDocument(
        f"urn:interlock:problem:{code}",
        HTTPStatus(status).phrase,
        status,
        detail,
        code,
        at,
        hint,
        found or [],
    )


def _respond(body: ProblemDocument, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(
        msgspec.json.encode(body),
        status_code=body.status,
        media_type=MEDIA_TYPE,
        headers=headers or {},
    )


def handle_app_error(_: Request[Any, Any, Any], error: AppError) -> Response[bytes]:
    """Answer for an error of ours."""
    headers = {}
    if isinstance(error, errors.ThrottledError):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.UnavailableError):
        headers["Retry-After"] = "1"
    if isinstance(error, errors.NotSignedInError):
        headers["WWW-Authenticate"] = "Bearer"
    if status_of(error) >= 500:
        _log.warning("answered %s: %s", status_of(error), error)
    return _respond(document(error), headers)


_FRAMEWORK_CODES = {
    400: "body.shape",
    401: "session.missing",
    404: "route.unknown",
    405: "method.unknown",
    413: "body.too_large",
    415: "body.media_type",
}


def handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer for what the framework refuses: unknown routes, methods, bodies that do not fit."""
    status = error.status_code
    cause = error.__cause__
    if isinstance(cause, msgspec.ValidationError) and "`$.data" in str(cause):
        # A wrong field that is named like a dependency (`user`) is taken for a mistake of ours.
        return _respond(_document(400, str(cause).replace("$.data", "$"), "body.shape"))
    if status >= 500:
        return handle_unexpected(request, error)
    found = [
        Problem("body.shape", str(item.get("message", "")), str(item.get("key", "")))
        for item in error.extra or []
        if isinstance(item, dict)
    ]
    if any(item.message == "'data'" for item in found):  # the framework's word for no body at all
        found = [Problem("body.shape", "expected a JSON body, got none", "body")]
    detail = found[0].message if found and found[0].message else error.detail
    return _respond(
        _document(status, detail, _FRAMEWORK_CODES.get(status, "request"), found=found),
        dict(error.headers or {}),
    )


def handle_unreadable(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer for text that no decoder takes: brackets without end, halves of characters."""
    found = "brackets nested too deep" if isinstance(error, RecursionError) else "broken text"
    return _respond(_document(400, f"expected JSON in UTF-8, got {found}", "body.json"))


def handle_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer for a mistake of ours: the log has the story, the caller a reference to it."""
    reference = secrets.token_hex(6)
    _log.error("unexpected error %s on %s", reference, request.url.path, exc_info=error)
    return _respond(
        _document(
            500,
            "something went wrong here",
            "internal",
            hint=f"tell the operator this reference: {reference}",
        )
    )
