"""What the load tester refuses, all of it before any load is sent.

AppError
+-- LoadTestError            a flag, file or threshold that cannot be used
    +-- TargetError          the endpoint is down, refuses the key or refuses the payload
"""

from __future__ import annotations

from compiler.errors import AppError


class LoadTestError(AppError):
    """The run cannot start as asked."""

    code = "loadtest.usage"


class TargetError(LoadTestError):
    """The target does not answer as a load test needs it to."""

    code = "loadtest.target"
