"""What the data plane refuses, drawn as a tree.

AppError
+-- RequestError            the request is not one that this node can answer
|   +-- BodyError           400  not JSON, not the request's shape, a damaged tensor
|   +-- FeaturesError       422  features do not fit the schema; every problem is listed
|   +-- KeyMissingError     401  no credential
|   +-- KeyUnknownError     401  a credential that names nobody
|   +-- ForbiddenError      403  the key is expired, revoked, or bound to something else
|   +-- NotFoundError       404  no such endpoint, release or path
|   +-- MethodError         405  the path exists for other methods
|   +-- AbandonedError      499  the caller went away; only ever recorded
|   +-- SlowSenderError     408  the request did not arrive in time
|   +-- ConflictError       409  an Idempotency-Key seen with another body, or in progress
|   +-- TooLargeError       413  the body, or its number of rows
|   +-- HeadTooLargeError   431  request line and headers
|   +-- QuotaError          429  the key's rate
|   +-- ShedError           503  busy, draining, suspended, or no room for evidence
|   +-- DeadlineError       504  the caller's time is over
+-- ReleaseRefusedError     a release does not check out; the last good one stays
+-- StartError              the router could not start
+-- ScoringError            500  a model failed on a row that passed validation
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.errors import AppError, Problem, ProblemsError


class RequestError(AppError):
    """The request cannot be answered."""

    code = "request"


class BodyError(RequestError):
    """The body is not JSON or not the shape of a request."""

    code = "body.shape"


class FeaturesError(ProblemsError):
    """Features do not fit the endpoint's schema."""

    code = "features"

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = len(problems)
        first = problems[0]
        text = f"{first.message} - at {first.at}" if first.at else first.message
        more = f" (and {count - 1} more)" if count > 1 else ""
        super().__init__(problems, message=text + more, code=first.code)


class KeyMissingError(RequestError):
    """Expected a routing key, got none."""

    code = "key.missing"


class KeyUnknownError(RequestError):
    """The routing key is not known."""

    code = "key.unknown"


class ForbiddenError(RequestError):
    """The routing key may not do this."""

    code = "key.forbidden"


class NotFoundError(RequestError):
    """There is nothing by this name."""

    code = "route.unknown"


class MethodError(RequestError):
    """The path exists, for other methods."""

    code = "method.unknown"


class SlowSenderError(RequestError):
    """The request did not arrive in time."""

    code = "http.timeout"


class AbandonedError(RequestError):
    """The caller went away before the answer was ready."""

    code = "request.abandoned"


class ConflictError(RequestError):
    """The request contradicts an earlier one."""

    code = "idempotency.conflict"


class TooLargeError(RequestError):
    """The body is too large."""

    code = "body.too_large"


class HeadTooLargeError(RequestError):
    """Request line and headers are too large."""

    code = "head.too_large"


class QuotaError(RequestError):
    """The key has used up its rate."""

    code = "limit.rate"

    def __init__(self, message: str = "", *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ShedError(RequestError):
    """The node cannot take the request now."""

    code = "node.busy"
    retry_after_s = 1


class DeadlineError(RequestError):
    """The deadline passed before the answer was ready."""

    code = "deadline.exceeded"


class ReleaseRefusedError(AppError):
    """A release does not check out and was not loaded."""

    code = "release.refused"


class StartError(AppError):
    """The router could not start."""

    code = "router.start"


class ScoringError(AppError):
    """The model failed on this row."""

    code = "model.failed"


def head_too_large(limit: int) -> HeadTooLargeError:
    """The error for a head beyond the limit."""
    return HeadTooLargeError(f"expected a request line and headers of at most {limit} bytes")
