"""An answer written output by output is, byte for byte, the one written row by row."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compiler.schema import Feature, OutputSchema
from router.arms import Arm
from router.release.spec import ReleaseContent
from router.settled import Settled
from router.wire.v2 import InferRequest, RequestedOutput
from router.wire.v2_answer import choose_outputs, encode_general
from router.wire.v2_batch import Block, encode_batch
from router.wire.v2_shapes import v2_plan
from serving.scatter import Answers

CLASSES = ("bad", "gööd", "")
SCHEMAS = {
    "classification": OutputSchema("classification", CLASSES),
    "regression": OutputSchema("regression"),
    "clustering": OutputSchema("clustering"),
}
OUTPUTS = {
    "classification": ("label", "probabilities"),
    "regression": ("value",),
    "clustering": ("cluster", "distance"),
}
EXTRA = ("decision", "id", "rule", "model", "decision_rule")
ARMS = (Arm("r1", model="m", version=1), Arm("r2"), Arm("ü", model="other", version=2))
DECISIONS = ("yes", None, "reject")
DECISION_RULES = ("d1", None, None)
NUMBERS = st.floats(width=32, allow_infinity=False)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 1), st.tuples(NUMBERS, NUMBERS, NUMBERS),
        st.binary(min_size=16, max_size=16),
    ),
    min_size=2, max_size=6,
)  # fmt: skip


def rows_and_block(task: str, rows: list[Any]) -> tuple[list[Settled], Block]:
    """The same decisions one by one and by columns."""
    answers = Answers.empty(SCHEMAS[task], len(rows))
    settled: list[Settled] = []
    outcomes = []
    for place, (arm, outcome, numbers, record_id) in enumerate(rows):
        out: Any = None
        if ARMS[arm].model is not None:
            answers.answered[place] = True
            if answers.codes is not None and answers.probabilities is not None:
                answers.codes[place] = outcome
                answers.probabilities[place] = numbers
                out = CLASSES[outcome], tuple(answers.probabilities[place].tolist())
            elif answers.values is not None:
                answers.values[place] = numbers[0]
                out = (numbers[0],)
                if answers.clusters is not None:
                    answers.clusters[place] = outcome
                    out = outcome, numbers[0]
        decided = 2 if out is None else outcome
        outcomes.append(decided)
        word, rule = DECISIONS[decided], DECISION_RULES[decided]
        settled.append((record_id, ARMS[arm], out, b"", word, rule, b""))
    made: Any = SimpleNamespace(
        inputs=SimpleNamespace(rows=len(rows)), arms=np.asarray([row[0] for row in rows]),
        answers=answers, outcomes=np.asarray(outcomes),
    )  # fmt: skip
    ids = np.frombuffer(b"".join(row[3] for row in rows), np.uint8).reshape(-1, 16)
    return settled, Block(made, ids)


FUNCTION: Any = SimpleNamespace(
    arms=ARMS, decisions=DECISIONS, decision_rules=DECISION_RULES,
    outcomes=lambda made: made.outcomes,
)  # fmt: skip


@given(
    st.sampled_from(sorted(SCHEMAS)),
    st.lists(ROWS, min_size=1, max_size=2),
    st.booleans(),
    st.sets(st.integers(0, 6)),
)
def test_answers_are_written_alike(
    task: str, blocks: list[Any], binary: bool, mixed: set[int]
) -> None:
    features = {"n": Feature("int")}
    content = ReleaseContent("e", 3, features, SCHEMAS[task], {}, (), decision_table={})
    names = OUTPUTS[task] + EXTRA
    call = InferRequest(
        [],
        id="x",
        parameters={"binary_data_output": binary},
        outputs=[
            RequestedOutput(name, {"binary_data": binary ^ (place in mixed)})
            for place, name in enumerate(names)
        ],
    )
    chosen = choose_outputs(call, v2_plan(content))
    made = [rows_and_block(task, rows) for rows in blocks]
    expected = encode_general(call, content, chosen, [row for rows, _ in made for row in rows])
    assert encode_batch(call, content, chosen, FUNCTION, [block for _, block in made]) == expected
