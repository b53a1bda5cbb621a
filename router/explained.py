"""The explanation that goes with an answer: in it where that is cheap, else a word that it comes.

The record is in the spool before; an explanation that fails here leaves the decision as it is, and
the explainer process makes it near-line.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.arms import Arm

PENDING = b'{"state":"pending"}'
_json = msgspec.json.Encoder().encode


def explained(tail: bytes, arm: Arm, f: Any, *, adverse: bool) -> bytes:
    """The end of an answer with its explanation.

    Args:
        tail: the end without it.
        arm: what decided.
        f: decoded features.
        adverse: only what spoke against is named.
    """
    return b'%b,"explanation":%b}' % (tail[:-1], _explanation(arm, f, adverse=adverse))


def _explanation(arm: Arm, f: Any, *, adverse: bool) -> bytes:
    if arm.model is None:  # no model decided: the rule is the reason
        why = arm.reason or f"decided by rule {arm.rule}"
        return _json({"state": "ok", "method": "rule", "reasons": [why]})
    if arm.explain is None:
        return PENDING
    try:
        found = arm.explain(f, adverse)
    except Exception:
        return PENDING
    return PENDING if found is None else _json(found)
