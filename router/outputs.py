"""JSON of a model's outputs, from the tuple that a scorer gives. Encoders are made at load time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from compiler.schema import OutputSchema

Out = tuple[Any, ...]


def output_encoder(schema: OutputSchema) -> Callable[[Out], bytes]:
    """Encoder for one endpoint.

    Args:
        schema: classification ``(label, probabilities)``, regression ``(value,)``,
            clustering ``(cluster, distance)``.
    """
    encode = msgspec.json.Encoder().encode
    if schema.task == "regression":

        def regression(out: Out) -> bytes:
            return encode({"value": out[0]})

        return regression
    if schema.task == "clustering":

        def clustering(out: Out) -> bytes:
            return encode({"cluster": out[0], "distance": out[1]})

        return clustering
    fields = [(f"p{number}", float) for number in range(len(schema.classes))]
    rename = {f"p{number}": label for number, label in enumerate(schema.classes)}
    probability = msgspec.defstruct("Probability", fields, rename=rename, gc=False)
    answer = msgspec.defstruct("Outputs", [("label", str), ("probability", probability)], gc=False)

    def classification(out: Out) -> bytes:
        return encode(answer(out[0], probability(*out[1])))

    return classification
