"""The lending endpoint as a team would write it by hand around ONNX Runtime.

The same three exported models, the same rules as plain Python, the same answer. It keeps no audit
record and checks no key, so a comparison is generous to it. Needs numpy and ONNX Runtime alone: it
also runs in the environments of peers that cannot be installed beside us.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SAVED = ("500 <= ... < 1000 DM", "... >= 1000 DM")


def load_scorer(packages: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function from features to the answer, over the portable models of a package folder."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions: dict[str, Any] = {}
    numeric: dict[str, bool] = {}
    for folder in sorted(packages.iterdir()):
        manifest = json.loads((folder / "manifest.json").read_bytes())
        session = onnxruntime.InferenceSession(folder / "portable.onnx", options)
        sessions[manifest["name"]] = session
        numeric = {put.name: put.type != "tensor(string)" for put in session.get_inputs()}
    label_first = [put.name for put in sessions["risk_ensemble"].get_outputs()]
    place = next(i for i, name in enumerate(label_first) if "prob" in name)

    def score(features: dict[str, Any]) -> dict[str, Any]:
        name = choose_model(features)
        feed = {
            key: np.array([[features[key]]], dtype=np.float32 if number else object)
            for key, number in numeric.items()
        }
        bad, good = map(float, sessions[name].run(None, feed)[place][0])
        return answer(name, bad, good)

    return score


def choose_model(features: dict[str, Any]) -> str:
    """The rule table in plain Python."""
    amount, months = features["credit_amount"], features["duration_in_month"]
    savings = features["savings_account_and_bonds"]
    if amount < 2000 and (months <= 12 or savings in SAVED):
        return "quick_approval"
    if amount > 8000 or (months > 36 and savings == "... < 100 DM"):
        return "risk_ensemble"
    return "standard_underwriting"


def answer(model: str, bad: float, good: float) -> dict[str, Any]:
    """The decision table and the body in plain Python."""
    return {
        "model": model,
        "outputs": {
            "label": "bad" if bad > good else "good",
            "probability": {"bad": bad, "good": good},
        },
        "decision": "approve" if bad < 0.3 else "refer" if bad < 0.5 else "decline",
    }
