"""Generated tables with everything that the rule language can say, to be printed and read back."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.strategies import conditions

MODEL_NAMES = (
    "m",
    "if",
    "Reject",
    "error",
    "a b",
    'q"q',
    "x.y",
    "é",
    "\t",
    "0",
    "SPLIT",
    "--",
    "a\nb",
)
NOTES = ("", "", "why", "it's", "-- no comment", "two\nlines", "\\ \u2028 é")


def leaf_consequents() -> st.SearchStrategy[dict[str, Any]]:
    """Every consequent of a routing table but nested rules."""
    names = st.sampled_from(MODEL_NAMES)
    version = st.sampled_from([{}, {}, {"version": 1}, {"version": 2**31 - 1}])
    model = st.builds(lambda name, found: {"model": name, **found}, names, version)
    arm = st.builds(
        lambda one, weight, name: {**one, "weight": weight, "name": name},
        model,
        st.integers(1, 1000),
        st.sampled_from(["a", "b", "if", "c d"]),
    )
    split = st.builds(
        lambda arms, salt, unit, layer: {
            "type": "split", "weights": arms, "salt": salt, **unit, **layer,
        },
        st.lists(arm, min_size=1, max_size=3, unique_by=lambda one: one["name"]),
        st.sampled_from(["s", "it's", "s 1"]),
        st.sampled_from([{}, {"unit": "subject"}, {"unit": "name"}, {"unit": "context.hour"}]),
        st.sampled_from([{}, {"layer": "l'1"}]),
    )  # fmt: skip
    others = st.lists(model, min_size=1, max_size=2)
    return st.one_of(
        st.builds(lambda one: {"type": "model", **one}, model),
        st.builds(lambda why: {"type": "reject", "reason": why}, st.sampled_from(NOTES)),
        split,
        st.builds(lambda a, b: {"type": "shadow", "primary": a, "mirrors": b}, model, others),
        st.builds(
            lambda a, b: {"type": "champion_challenger", "champion": a, "challengers": b},
            model,
            others,
        ),
    )


@st.composite
def printable_tables(draw: st.DrawFn) -> dict[str, Any]:
    """A whole table with everything that the language can say, to be printed and read back."""
    decision = draw(st.booleans())
    words = st.builds(lambda w: {"type": "decision", "decision": w}, st.sampled_from(MODEL_NAMES))
    leaf = words if decision else leaf_consequents()

    def cascade(depth: int) -> dict[str, Any]:
        rules = []
        for index in range(draw(st.integers(0, 3))):
            nested = depth < 2 and draw(st.integers(0, 3)) == 0
            rule = {
                "id": draw(
                    st.sampled_from([f"rule{index + 1}", f"r-{index}", f"{index}.x", f"r{index}"])
                ),
                "antecedent": draw(conditions(5)),
                "consequent": {"type": "rules", **cascade(depth + 1)} if nested else draw(leaf),
            }
            rules.append({**rule, "description": draw(st.sampled_from(NOTES))})
        return {"conditions": rules, "defaultConsequent": draw(leaf)}

    table = {
        "$schema": "interlock/rules/v1",
        "kind": "decision" if decision else "routing",
        "onUnknown": draw(
            st.sampled_from(["fallthrough", "error"])
            | st.builds(lambda found: {"consequent": found}, leaf)
        ),
        **cascade(0),
    }
    if draw(st.booleans()):
        table |= {"id": draw(st.sampled_from(NOTES)), "revision": draw(st.integers(0, 10**18 - 1))}
    return table | {"description": draw(st.sampled_from(NOTES))}
