"""Which decisions get an explanation near-line: the endpoint's policy as a function."""

from __future__ import annotations

import random
from collections.abc import Callable

from router.release.spec import Policies

NO, ADVERSE, BOTH_SIDES, IF_CHEAP = range(4)
"""Values of a record's ``explain``: none; what spoke against; what spoke for and against; the same,
while the model's explanations are cheap."""

Wish = Callable[[bool, bool], int]


def wish_of(policies: Policies, draw: Callable[[], float] = random.random) -> Wish:
    """What a record's ``explain`` says, from whether it was asked for and whether it is adverse.

    Args:
        policies: of the endpoint.
        draw: number in [0, 1) for ``sampled``.
    """
    policy = policies.explain
    against = NO if policy == "off" else ADVERSE
    other = {"all": BOTH_SIDES, "cheap": IF_CHEAP}.get(policy, NO)
    share = policies.explain_share if policy == "sampled" else 0.0

    def wish(asked: bool, adverse: bool) -> int:
        found = against if adverse else other
        if asked:
            return found if found in (ADVERSE, BOTH_SIDES) else BOTH_SIDES
        if share and not adverse and draw() < share:
            return BOTH_SIDES
        return found

    return wish
