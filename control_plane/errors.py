"""Refusals of the control plane, by kind; each topic raises these with its own stable codes.

AppError
+-- NotSignedInError      no, unknown or expired session
+-- ForbiddenError        signed in, but not allowed
+-- NotFoundError         no such thing
+-- ConflictError         the thing is not in a state that allows this
+-- StaleEditError        somebody else changed it meanwhile
+-- PreconditionError     the request does not say which revision it changes
+-- InvalidError          understood, but wrong
+-- TooLargeError         more than this server takes
+-- ThrottledError        too many attempts
+-- UnavailableError      a dependency did not answer in time
+-- SetupError            this process cannot start as configured
"""

from __future__ import annotations

from compiler.errors import AppError


class NotSignedInError(AppError):
    """Expected a valid session or service token."""

    code = "session.unknown"


class ForbiddenError(AppError):
    """You are not allowed to do this."""

    code = "permission.denied"


class NotFoundError(AppError):
    """There is no such thing."""

    code = "not_found"


class ConflictError(AppError):
    """Its present state does not allow this."""

    code = "conflict"


class StaleEditError(AppError):
    """Somebody else changed this since you read it."""

    code = "draft.stale"


class PreconditionError(AppError):
    """Expected an If-Match header with the revision you read."""

    code = "precondition.required"


class InvalidError(AppError):
    """The request is well formed, but what it says is wrong."""

    code = "invalid"


class TooLargeError(AppError):
    """The request is larger than this server takes."""

    code = "body.too_large"


class ThrottledError(AppError):
    """Too many attempts."""

    code = "limit.rate"

    def __init__(self, message: str, *, retry_after_s: int, code: str = "", hint: str = "") -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, code=code, hint=hint)


class UnavailableError(AppError):
    """A service this one depends on did not answer in time."""

    code = "unavailable"


class SetupError(AppError):
    """This process cannot start as it is configured."""

    code = "setup"
