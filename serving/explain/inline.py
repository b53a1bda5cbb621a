"""Explanations cheap enough to be given with the answer itself.

Only exact arrays are asked here: an explanation that does not add up to the served answer, or a
model whose explanation costs more than the limit, is left to the explainer process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from compiler.errors import AppError
from serving.cost import measure_us
from serving.engine import LoadedModel
from serving.explain.explainer import Explainer
from serving.explain.reasons import in_words

INLINE_CALLS = 3
"""Calls of a round of the measurement: enough to tell what is cheap, and short."""
Explain = Callable[[Any, bool], "InlineExplanation | None"]


class InlineExplanation(Struct, frozen=True):
    """An explanation as an answer carries it; see ``Explanation`` for the numbers."""

    state: str
    method: str
    space: str
    base: float
    phi: dict[str, float]
    residual: float
    reasons: tuple[str, ...]


def inline_explainer(model: LoadedModel, limit_us: float) -> Explain | None:
    """What explains decoded structs of a model, None where that costs more than the limit.

    Args:
        model: loaded from a package with ``explain.npz``.
        limit_us: highest cost of one explanation, microseconds; measured here.

    Returns:
        ``explain(f, adverse)``, for the thread that scores; it gives None for a row that the
        arrays do not reproduce.
    """
    file = model.explain_file
    if limit_us <= 0 or file is None:
        return None
    try:
        explainer = Explainer(model, file)
    except (AppError, KeyError, ValueError, IndexError, OSError):
        return None  # whoever wants this explanation near-line is told what is wrong with it
    if not explainer.is_exact or measure_us(explainer.sample, calls=INLINE_CALLS) > limit_us:
        return None
    features, names = model.features, model.encoding.features()

    def explain(f: Any, adverse: bool) -> InlineExplanation | None:
        found = explainer.explain_struct(f)
        if found is None:
            return None
        values = {name: getattr(f, name) for name in names}
        reasons = in_words(found, values, features, adverse=adverse)
        phi = {name: value + 0.0 for name, value in found.phi.items()}  # JSON has no -0.0
        return InlineExplanation(
            found.state, found.method, found.space, found.base, phi, found.residual, reasons
        )

    return explain
