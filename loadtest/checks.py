"""Correctness of answers under load: a fast wrong answer is a failed request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtest.plan import Template

Check = Callable[[bytes], bool]

_VARYING = re.compile(rb'"(?:id|request_id|timestamp|latency_us)":\s*"[^"]*",?')


def golden_digest(body: bytes) -> str:
    """Digest of an answer without the members that differ from call to call.

    >>> golden_digest(b'{"id":"1","x":2}') == golden_digest(b'{"id":"2","x":2}')
    True
    """
    return hashlib.sha256(_VARYING.sub(b"", body)).hexdigest()


def build_check(template: Template) -> Check | None:
    """One function for everything a template expects, or None when it expects nothing."""
    expect, golden = template.expect, template.golden
    if not expect and not golden:
        return None

    def check(body: bytes) -> bool:
        if any(part not in body for part in expect):
            return False
        return not golden or golden_digest(body) == golden

    return check
