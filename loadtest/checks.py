"""Correctness of answers under load: a fast wrong answer is a failed request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from loadtest.plan import Template

Check = Callable[[bytes], bool]

_VARYING = re.compile(rb'"(?:id|request_id|timestamp|latency_us)":\s*"[^"]*",?')
_PATH = re.compile(r"^([A-Za-z_][A-Za-z0-9_.]*)=(.*)$")


def golden_digest(body: bytes) -> str:
    """Digest of an answer without the members that differ from call to call.

    >>> golden_digest(b'{"id":"1","x":2}') == golden_digest(b'{"id":"2","x":2}')
    True
    """
    return hashlib.sha256(_VARYING.sub(b"", body)).hexdigest()


def build_check(template: Template) -> Check | None:
    """One function for everything a template expects, or None when it expects nothing."""
    if not template.expect and not template.golden:
        return None
    tests = [_build_one(text) for text in template.expect]
    golden = template.golden

    def check(body: bytes) -> bool:
        if not all(test(body) for test in tests):
            return False
        return not golden or golden_digest(body) == golden

    return check


def _build_one(text: str) -> Check:
    """``decision=approve|refer`` reads the answer as JSON; other text must be contained in it."""
    match = _PATH.match(text)
    if match is None:
        part = text.encode()
        return lambda body: part in body
    path, wanted = match[1].split("."), set(match[2].split("|"))

    def holds(body: bytes) -> bool:
        try:
            value: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        for name in path:
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        said = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return said in wanted

    return holds
