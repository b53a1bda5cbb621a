"""Why the model said so: Shapley values per business feature, checked against the served answer.

Explained is the margin (log-odds) of the favourable class; for forests, whose trees average
probabilities, the probability itself; for regression the value; for clusters the squared distance
to the row's own centre, which is a sum over columns. The residual between the
explanation's sum and the margin of the *served* answer is part of every explanation; beyond its
limit the explanation falls back to asking the graph and says ``mismatch``.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from math import exp, log
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.package import read_package
from serving.encode import ROW_ERRORS
from serving.engine import LoadedModel
from serving.explain.distance import DistanceShapley
from serving.explain.linear import LinearShapley
from serving.explain.permutation import PermutationShapley
from serving.explain.trees import TreeShapley
from serving.types import Outputs, OutputTuple, ScoreError

RESIDUAL_LIMIT = 1e-4
SQUARED = "squared distance"
FLOAT32_STEP = 2.0**-22  # a few roundings of a float32 probability


EXACT: dict[str, type[LinearShapley | TreeShapley | DistanceShapley]] = {
    "linear": LinearShapley,
    "tree": TreeShapley,
    "distance": DistanceShapley,
}
"""Methods that need not ask the graph."""


class Explanation(Struct, frozen=True):
    """One explanation; ``base + sum(phi)`` is the explained output up to ``residual``.

    Attributes:
        base: expected output over the reference rows.
        phi: contribution of each feature the model reads, one-hot columns summed.
        residual: distance between ``base + sum(phi)`` and the served answer's margin.
        method: ``linear``, ``tree``, ``distance`` or ``permutation``.
        space: what is added up.
        state: ``ok``, or ``mismatch`` when the exact arrays did not reproduce the answer.
        target: the explained class, empty unless classification.
        output: the served answer in ``space``.
    """

    base: float
    phi: dict[str, float]
    residual: float
    method: str
    space: str
    state: Literal["ok", "mismatch"] = "ok"
    target: str = ""
    output: float = 0.0


class Explainer:
    """Explains rows of one package.

    Attributes:
        model: the loaded model, for the served answer.
        method: ``linear``, ``tree``, ``distance`` or ``permutation``.
        target: the explained class.
    """

    def __init__(self, model: LoadedModel, file: bytes) -> None:
        self.model = model
        with np.load(io.BytesIO(file), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        self.method = str(arrays["method"])
        self._target = int(arrays["target"])
        task = model.output.task
        self.target = model.output.classes[self._target] if task == "classification" else ""
        default = {"classification": "margin", "regression": "value", "clustering": "distance"}
        self.space: str = str(arrays["space"]) if "space" in arrays else default[task]
        self._slots = model.encoding.slots()
        self._owner = np.zeros(model.encoding.width, np.intp)
        for place, slots in enumerate(self._slots.values()):
            self._owner[slots] = place
        self._row, self._encode, self._run = model.bind_row()
        self._kind = msgspec.defstruct("Values", [(name, Any) for name in self._slots])
        self._exact: LinearShapley | TreeShapley | DistanceShapley | None = None
        if self.method in EXACT:
            self._exact = EXACT[self.method](arrays)
        self._references = np.asarray(arrays["references"], np.float32)
        self._weights = np.asarray(arrays["weights"], np.float64)
        self._row[:] = self._references[0]
        self._fallback: PermutationShapley | None = None

    def explain(self, feature_values: Mapping[str, Any]) -> Explanation:
        """Explanation of one request's features (missing and null are MISSING).

        Raises:
            AppError: a value does not fit the model; ``at`` names it.
        """
        row, answer = self._scored(feature_values)
        exact = self._exactly(row, answer)
        if exact is not None:
            return exact
        served = self._output_of(answer)
        permutation = self._permutation()
        phi = permutation.explain(row)
        residual = abs(permutation.base + sum(phi.values()) - served)
        state: Literal["ok", "mismatch"] = "ok" if self._exact is None else "mismatch"
        return self._explanation(permutation.base, phi, residual, served, state)

    @property
    def is_exact(self) -> bool:
        """Whether explanations come from arrays, without asking the graph."""
        return self._exact is not None

    def explain_struct(self, f: Any) -> Explanation | None:
        """Explanation of a decoded struct that was scored; None when the arrays do not add up."""
        self._encode(f)
        return self.sample()

    def sample(self) -> Explanation | None:
        """Explanation of the row at hand, at first a reference: what its cost is measured with."""
        return self._exactly(self._row, self._run())

    def _exactly(self, row: NDArray[np.float32], answer: OutputTuple) -> Explanation | None:
        """The explanation from the arrays; None when they do not reproduce the answer."""
        exact = self._exact
        if exact is None:
            return None
        if isinstance(exact, DistanceShapley):
            base, columns = exact.base(answer[0]), exact.explain(row, answer[0])
        else:
            base, columns = exact.base, exact.explain(row)
        phi, served = self._by_feature(columns), self._output_of(answer)
        residual = abs(base + sum(phi.values()) - served)
        if residual > self._limit(served):
            return None
        return self._explanation(base, phi, residual, served, "ok")

    def _scored(self, values: Mapping[str, Any]) -> tuple[NDArray[np.float32], OutputTuple]:
        """The lowered row and the served answer."""
        holder = self._kind(**{name: values.get(name) for name in self._slots})
        try:
            self._encode(holder)
        except ROW_ERRORS:
            columns = {name: [values.get(name)] for name in self._slots}
            self._row[:] = self.model.encode_columns(columns, 1)[0]  # words the refusal
        answer = self._run()
        return self._row.copy(), answer

    def _output_of(self, answer: OutputTuple) -> float:
        """A served answer in the explained space."""
        if self.space == "margin":
            shares = answer[1]
            rest = [log(max(p, 1e-30)) for i, p in enumerate(shares) if i != self._target]
            return log(max(shares[self._target], 1e-30)) - sum(rest) / len(rest)
        if self.space == "probability":
            return float(answer[1][self._target])
        return float(answer[-1]) ** 2 if self.space == SQUARED else float(answer[-1])

    def _by_feature(self, phi: NDArray[np.float64]) -> dict[str, float]:
        """Columns summed back to the feature they came from."""
        sums = np.bincount(self._owner, weights=phi, minlength=len(self._slots))
        return dict(zip(self._slots, sums.tolist(), strict=True))

    def _explanation(
        self,
        base: float,
        phi: dict[str, float],
        residual: float,
        served: float,
        state: Literal["ok", "mismatch"],
    ) -> Explanation:
        exact = self._exact is not None and state == "ok"
        method = self.method if exact else "permutation"
        return Explanation(base, phi, residual, method, self.space, state, self.target, served)

    def measure_us(self, feature_values: Mapping[str, Any], calls: int = 5) -> float:
        """Cost of one explanation in microseconds, the best of a few: small enough for inline?"""
        best = float("inf")
        for _ in range(calls):
            start = time.perf_counter_ns()
            self.explain(feature_values)
            best = min(best, (time.perf_counter_ns() - start) / 1000)
        return best

    def _permutation(self) -> PermutationShapley:
        if self._fallback is None:
            self._fallback = PermutationShapley(
                self._output, self._slots, self._references, self._weights
            )
        return self._fallback

    def _output(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """The explained output of the served graph, shape (rows,)."""
        return explained_output(self.model.score_rows(rows), self._target, self.space)

    def _limit(self, served: float) -> float:
        """The residual allowed: float32 probabilities near 0 and 1 blur their log-odds."""
        if self.space != "margin":
            return RESIDUAL_LIMIT * max(1.0, abs(served))
        share = 1.0 / (1.0 + exp(-abs(served)))
        return RESIDUAL_LIMIT + FLOAT32_STEP / max(share * (1.0 - share), 1e-7)


def explained_output(outputs: Outputs, target: int, space: str) -> NDArray[np.float64]:
    """Margin, probability, value, distance or its square of answers, shape (rows,).

    A margin of several classes is ``log p_target`` minus the mean of the other logs; of two, the
    log-odds. Probabilities of exactly 0 or 1 count as the nearest float32 inside.
    """
    if outputs.probabilities is not None:
        probabilities = outputs.probabilities.astype(np.float64)
        if space == "probability":
            chosen: NDArray[np.float64] = probabilities[:, target]
            return chosen
        logs = np.log(np.clip(probabilities, 1e-30, 1.0))
        margin: NDArray[np.float64] = logs[:, target] - np.delete(logs, target, axis=1).mean(axis=1)
        return margin
    if outputs.values is not None:
        return outputs.values.astype(np.float64)
    if outputs.distances is None:
        raise ScoreError("nothing to explain")
    distances = outputs.distances.astype(np.float64)
    return distances**2 if space == SQUARED else distances


def load_explainer(folder: Path | str, *, expected_digest: str | None = None) -> Explainer:
    """The explainer of a package, verified before use.

    Raises:
        PackageError: damaged.
        ScoreError: it carries no ``explain.npz``, or one that cannot be read.
    """
    package = read_package(Path(folder), expected_digest=expected_digest)
    file = package.files.get("explain.npz")
    if file is None:
        raise ScoreError("the package carries no explain.npz", code="explain.missing")
    model = LoadedModel(package, None)
    try:
        return Explainer(model, file)
    except (KeyError, ValueError, IndexError, OSError) as error:
        raise ScoreError(
            f"explain.npz cannot be used: {error}", code="explain.invalid", at=str(folder)
        ) from error
