"""JSON of many outputs beside one document per row."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.schema import OutputSchema
from serving.outputs import outputs_json
from serving.scatter import Answers

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e-7, 1e22]))
encode = msgspec.json.Encoder().encode


@settings(deadline=None)  # the first call imports Arrow
@given(
    st.lists(st.text(max_size=6), min_size=2, max_size=4, unique=True),
    st.lists(st.tuples(st.booleans(), st.integers(0, 1), NUMBERS), max_size=30),
)
def test_classification_has_the_bytes_of_one_document_per_row(classes, rows):
    schema = OutputSchema("classification", tuple(classes))
    answers = Answers.empty(schema, len(rows))
    expected = []
    for place, (answered, code, number) in enumerate(rows):
        answers.answered[place] = answered
        answers.codes[place] = code
        with np.errstate(over="ignore"):
            share = np.float32(number)
        share = share if np.isfinite(share) else np.float32(0.25)
        answers.probabilities[place] = share
        shares = dict.fromkeys(classes, float(share))
        document = {"label": classes[code], "probability": shares}
        expected.append(encode(document).decode() if answered else None)
    assert outputs_json(answers, schema).to_pylist() == expected


@settings(deadline=None)  # the first call imports Arrow
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), NUMBERS), max_size=30))
def test_values_and_clusters_have_the_bytes_of_one_document_per_row(rows):
    for task in ("regression", "clustering"):
        schema = OutputSchema(task)
        answers = Answers.empty(schema, len(rows))
        expected = []
        for place, (answered, cluster, number) in enumerate(rows):
            answers.answered[place] = answered
            answers.values[place] = number
            document = {"value": number}
            if task == "clustering":
                answers.clusters[place] = cluster
                document = {"cluster": cluster, "distance": number}
            expected.append(encode(document).decode() if answered else None)
        assert outputs_json(answers, schema).to_pylist() == expected
