"""The promise to callers: what a new release may not take away from the one in service."""

from __future__ import annotations

from compiler.rules.finding import Finding
from router.release.spec import ReleaseContent


def broken_promises(live: ReleaseContent, new: ReleaseContent) -> list[Finding]:
    """Findings at level error for requests that worked and would not, and answers that change.

    A feature that callers send may not disappear (while unknown features are refused), change its
    type, or narrow its values or range; a feature that callers do not send may not become
    required; labels stay the same, in the same order.
    """
    found: list[Finding] = []
    for name, before in live.features.items():
        after = new.features.get(name)
        at = f"features.{name}"
        if after is None:
            if new.policies.extra == "reject":
                found.append(_error("contract.dropped", f"feature {name} is no longer known", at))
            continue
        if (after.type, after.scale) != (before.type, before.scale):
            found.append(
                _error("contract.retyped", f"{name} was {before.type}, now {after.type}", at)
            )
            continue
        if before.type == "enum" and not set(before.values) <= set(after.values):
            gone = sorted(set(before.values) - set(after.values))
            found.append(_error("contract.narrowed", f"{name} no longer allows {gone}", at))
        if _narrower(before.min, after.min, lower=True) or _narrower(
            before.max, after.max, lower=False
        ):
            found.append(
                _error(
                    "contract.narrowed",
                    f"{name} allowed {before.min}..{before.max}, now {after.min}..{after.max}",
                    at,
                )
            )
        was_optional = before.nullable or before.default is not None
        if was_optional and not (after.nullable or after.default is not None):
            found.append(_error("contract.required", f"{name} was optional, now required", at))
    for name, after in new.features.items():
        optional = after.nullable or after.default is not None
        if name not in live.features and not optional:
            found.append(
                _error("contract.required", f"new feature {name} is required", f"features.{name}")
            )
    if live.output != new.output:
        found.append(
            _error(
                "contract.output",
                f"the answer was {live.output.task} {list(live.output.classes)}, "
                f"now {new.output.task} {list(new.output.classes)}",
                "output",
            )
        )
    return found


def _error(code: str, message: str, at: str) -> Finding:
    return Finding("error", code, message + "; make a new endpoint for a new promise", at=at)


def _narrower(before: float | str | None, after: float | str | None, *, lower: bool) -> bool:
    """Whether a bound moved inwards; bounds of one type compare, a new bound narrows."""
    if after is None:
        return False
    if before is None:
        return True
    if isinstance(before, str) or isinstance(after, str):
        moved = (str(after) > str(before)) if lower else (str(after) < str(before))
    else:
        moved = after > before if lower else after < before
    return moved
