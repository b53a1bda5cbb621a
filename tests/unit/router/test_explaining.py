"""The explanation policy: what each decision's record asks for."""

import pytest

from router.explaining import wish_of
from router.release.spec import Policies

CASES = [(False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize(
    ("policy", "wishes"),
    [
        ("off", [0, 0, 2, 2]),
        ("adverse", [0, 1, 2, 1]),
        ("cheap", [3, 1, 2, 1]),
        ("all", [2, 1, 2, 1]),
    ],
)
def test_policy_says_what_is_explained_and_asking_always_helps(policy, wishes):
    wish = wish_of(Policies(explain=policy))
    assert [wish(asked, adverse) for asked, adverse in CASES] == wishes


def test_sample_takes_its_share_of_the_others_and_all_adverse_ones():
    draws = iter([n / 1000 for n in range(1000)])
    wish = wish_of(Policies(explain="sampled", explain_share=0.25), lambda: next(draws))
    assert sum(wish(False, False) == 2 for _ in range(1000)) == 250
    assert wish(False, True) == 1
