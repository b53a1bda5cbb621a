"""The promise to callers: what counts as broken and what does not."""

from __future__ import annotations

import msgspec
import pytest

from compiler.schema import Feature, OutputSchema
from control_plane.endpoints.contract import broken_promises
from router.release.spec import Policies, ReleaseContent

AMOUNT = Feature(type="int", min=0, max=100)
COLOUR = Feature(type="enum", values=("red", "blue"))
NOTE = Feature(type="string", nullable=True)
OUTPUT = OutputSchema("classification", ("bad", "good"))


def content(**changes):
    facts = {
        "endpoint": "credit",
        "number": 1,
        "features": {"amount": AMOUNT, "colour": COLOUR, "note": NOTE},
        "output": OUTPUT,
        "rules": {},
        "models": (),
    }
    return ReleaseContent(**{**facts, **changes})


def features(**changes):
    known = {"amount": AMOUNT, "colour": COLOUR, "note": NOTE, **changes}
    return {name: feature for name, feature in known.items() if feature is not None}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": None}, "contract.dropped"),
        ({"amount": Feature(type="float", min=0, max=100)}, "contract.retyped"),
        ({"amount": Feature(type="int", min=10, max=100)}, "contract.narrowed"),
        ({"amount": Feature(type="int", min=0, max=50)}, "contract.narrowed"),
        ({"note": Feature(type="string", max="m", nullable=True)}, "contract.narrowed"),
        ({"colour": Feature(type="enum", values=("red",))}, "contract.narrowed"),
        ({"note": Feature(type="string")}, "contract.required"),
        ({"extra": Feature(type="int")}, "contract.required"),
    ],
)
def test_what_breaks_a_caller_is_named(changes, code):
    found = broken_promises(content(), content(features=features(**changes)))
    assert [finding.code for finding in found] == [code]
    assert found[0].level == "error"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": Feature(type="int", min=-5, max=200)},
        {"amount": Feature(type="int")},
        {"colour": Feature(type="enum", values=("red", "blue", "green"))},
        {"extra": Feature(type="int", nullable=True)},
        {"extra": Feature(type="int", default=3)},
        {"note": Feature(type="string", default="-")},
    ],
)
def test_what_callers_do_not_notice_is_allowed(changes):
    assert broken_promises(content(), content(features=features(**changes))) == []


def test_a_dropped_feature_is_no_break_where_unknown_ones_are_ignored():
    new = content(features=features(amount=None), policies=Policies(extra="ignore"))
    assert broken_promises(content(), new) == []


def test_labels_in_another_order_break_the_promise():
    other = msgspec.structs.replace(OUTPUT, classes=("good", "bad"))
    codes = [f.code for f in broken_promises(content(), content(output=other))]
    assert codes == ["contract.output"]
