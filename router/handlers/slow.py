"""Operations that wait for something, by the name of their route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from router.handlers.metrics import metrics
from router.handlers.stats import stats
from router.head import Head
from router.plane import Answer, Plane

SlowHandler = Callable[[Plane, Head, Any], Awaitable[Answer]]

SLOW_HANDLERS: dict[str, SlowHandler] = {
    "metrics": metrics,
    "stats": stats,
}
