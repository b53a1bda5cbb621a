"""Many rows through one release: route, score, decide, with the evidence of each row.

Every step works on whole columns: the generated vector function of the rules, one run of each model
over the rows that it answers, the vector function of the decision table. The outcome of a row is,
bit for bit, that of a single request with the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from compiler.errors import AppError
from compiler.models.values import Coded
from compiler.rules.ast import SplitConsequent
from compiler.rules.splits import assign_many
from router.arms import Arm, Split
from router.columnar.inputs import SPLIT, SUBJECT, Inputs, column_name, read_inputs
from router.columnar.tables import given, id_words, label_and_value, named, random_ids
from router.decide import unknown_rule
from router.errors import ShedError
from serving.outputs import outputs_json
from serving.scatter import Answers

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from router.endpoint import Endpoint

REFUSED, FAILED = 422, 500
Tally = tuple[tuple[Arm, int, int], ...]


class Decisions(Struct, frozen=True):
    """What an endpoint decided about a batch.

    Attributes:
        result: ``row, id, rule, model, version, decision, label, value, outputs, error``, a row
            per row of the batch, in order.
        evidence: the same rows as a columnar part keeps them.
        errors: rows with an error.
        routes: rows by model; rejected ones under an empty name.
        problems: of rows that fitted the schema, by place in the batch.
        tally: arm, outcome of the decision table and number of rows.
    """

    result: pa.RecordBatch
    evidence: pa.RecordBatch
    errors: int
    routes: Mapping[str, int]
    problems: Mapping[int, AppError]
    tally: Tally


class _Made(Struct, frozen=True):
    """What the steps found, by row: see :class:`ColumnarEndpoint`."""

    inputs: Inputs
    arms: NDArray[np.intp]
    open_rows: NDArray[np.bool_]
    answers: Answers
    outcomes: NDArray[np.int16]
    failed: dict[int, AppError]


class ColumnarEndpoint:
    """One endpoint over columns; may be called from several threads.

    Args:
        endpoint: its release.
        subject_ref: keyed hash of a subject.
    """

    def __init__(self, endpoint: Endpoint, *, subject_ref: Callable[[str], str]) -> None:
        self.endpoint = endpoint
        self._subject_ref = subject_ref
        self._lenient = endpoint.policies.input == "lenient"
        self._arms: list[Arm] = []
        self._first: list[int] = []
        for leaf in endpoint.arms:
            self._first.append(len(self._arms))
            self._arms += [leaf] if isinstance(leaf, Arm) else leaf.arms
        self._by_model: dict[str, NDArray[np.intp]] = {}
        for name in endpoint.models:
            found = [place for place, arm in enumerate(self._arms) if arm.model == name]
            self._by_model[name] = np.asarray(found, np.intp)
        self._rejects = np.asarray([arm.model is None for arm in self._arms], bool)

    def decide(
        self, batch: pa.RecordBatch, *, first_row: int, now_us: int, ids: Any = None
    ) -> Decisions:
        """Decide about every row.

        Args:
            batch: a column per feature, context as ``_context.NAME``; ``_id``, ``_subject`` and
                ``_split_id`` may be there; other columns are left alone.
            first_row: number of the first row.
            now_us: time that rules see as now, microseconds since the epoch.
            ids: of the decisions, bytes of shape (rows, 16); random UUIDs without them.

        Raises:
            ShedError: the endpoint is suspended.
        """
        endpoint = self.endpoint
        if endpoint.suspended:
            raise ShedError(f"endpoint {endpoint.name!r} is suspended", code="endpoint.suspended")
        inputs = read_inputs(batch, endpoint.content.features, lenient=self._lenient)
        problems = inputs.problems
        failed: dict[int, AppError] = {}
        leaves = endpoint.routing.numpy(inputs.rules, inputs.rows, now_us)
        stopped = leaves < 0
        if stopped.any():
            self._stop(failed, problems, leaves, stopped, endpoint.routing.ids)
            leaves = np.where(stopped, 0, leaves)
        open_rows = (
            np.ones(inputs.rows, bool) if inputs.sound else np.equal(problems, None).astype(bool)  # type: ignore[call-overload]
        ) & ~stopped
        arms = self._arms_of(leaves, batch)
        answers = Answers.empty(endpoint.content.output, inputs.rows)
        for name, members in self._by_model.items():
            chosen = np.isin(arms, members) if len(members) != 1 else arms == members[0]
            rows = np.flatnonzero(chosen & open_rows)
            if len(rows):
                answers.score(endpoint.models[name], inputs.model, rows)
        failed |= answers.errors
        outcomes = self._outcomes(inputs, answers, now_us, failed)
        for row, error in failed.items():
            problems[row] = f"{error.code}: {error.message}"
            open_rows[row] = False
        made = _Made(inputs, arms, open_rows, answers, outcomes, failed)
        return self._tables(batch, first_row, ids, made)

    @staticmethod
    def _stop(
        failed: dict[int, AppError],
        problems: NDArray[np.object_],
        leaves: Any,
        stopped: NDArray[np.bool_],
        names: Any,
    ) -> None:
        """Rows that a table with ``onUnknown: error`` stops at."""
        for row in np.flatnonzero(stopped).tolist():
            if problems[row] is None:
                failed[row] = unknown_rule(names[-1 - int(leaves[row])])

    def _arms_of(self, leaves: NDArray[np.int16], batch: pa.RecordBatch) -> NDArray[np.intp]:
        """The arm of every row, those of splits by their unit."""
        arms: NDArray[np.intp] = np.asarray(self._first, np.intp)[leaves]
        for place, leaf in enumerate(self.endpoint.arms):
            if isinstance(leaf, Split):
                rows = np.flatnonzero(leaves == place)
                if len(rows):
                    arms[rows] += self._choose(place, leaf, batch, rows)
        return arms

    def _choose(
        self, place: int, split: Split, batch: pa.RecordBatch, rows: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        units: list[Any]
        if split.unit == "split_id":
            units = _texts(batch, SPLIT, rows)
            units = [
                unit or subject
                for unit, subject in zip(units, _texts(batch, SUBJECT, rows), strict=True)
            ]
        else:
            units = _texts(batch, column_name(split.unit), rows)
        consequent = self.endpoint.routing.consequents[place]
        assert isinstance(consequent, SplitConsequent)
        found = np.zeros(len(rows), np.intp)
        given = np.flatnonzero([unit not in (None, "") for unit in units])
        if len(given):
            found[given] = assign_many(consequent, [units[at] for at in given.tolist()])
        return found

    def _outcomes(
        self,
        inputs: Inputs,
        answers: Answers,
        now_us: int,
        failed: dict[int, AppError],
    ) -> NDArray[np.int16]:
        """Outcome of the decision table of every scored row; the last one stands for none."""
        endpoint = self.endpoint
        none = len(endpoint.decided) - 1
        if endpoint.deciding is None:
            return np.full(inputs.rows, none, np.int16)
        columns = {**inputs.rules, **_output_columns(answers)}
        found = endpoint.deciding.numpy(columns, inputs.rows, now_us)
        stopped = (found < 0) & answers.answered
        if stopped.any():
            self._stop(failed, inputs.problems, found, stopped, endpoint.deciding.ids)
            answers.answered[stopped] = False
        return np.where(answers.answered & (found >= 0), found, none).astype(np.int16)

    def _tables(self, batch: pa.RecordBatch, first_row: int, ids: Any, made: _Made) -> Decisions:
        """Answers and evidence."""
        import pyarrow as pa

        inputs, arms, open_rows = made.inputs, made.arms, made.open_rows
        answers, outcomes = made.answers, made.outcomes
        rows, endpoint = inputs.rows, self.endpoint
        whole = bool(open_rows.all())
        mask = None if whole else ~open_rows
        picked = pa.array(arms.astype(np.int32), mask=mask)
        rule = named([arm.rule for arm in self._arms], picked)
        model = named([arm.model for arm in self._arms], picked)
        package = named([arm.package for arm in self._arms], picked)
        version = pa.array([arm.version for arm in self._arms], pa.int32()).take(picked)
        decision, decision_rule = self._decisions(arms, outcomes, mask)
        outputs = outputs_json(answers, endpoint.content.output)
        errors = pa.nulls(rows, pa.string()) if whole else pa.array(inputs.problems, pa.string())
        raw = random_ids(rows) if ids is None else np.ascontiguousarray(ids, np.uint8)
        if raw.shape != (rows, 16):
            raise ValueError(f"expected ids of shape ({rows}, 16), got {raw.shape}")
        label, value = label_and_value(answers)
        result = pa.record_batch(
            {
                "row": np.arange(first_row, first_row + rows),
                "id": id_words(raw),
                "rule": rule.dictionary_decode(),
                "model": model.dictionary_decode(),
                "version": version.cast(pa.int64()),
                "decision": decision.dictionary_decode(),
                "label": label.dictionary_decode(),
                "value": value,
                "outputs": outputs,
                "error": errors,
            }
        )
        kept = {
            "row": result.column("row"),
            "id": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), rows, [None, pa.py_buffer(raw)]
            ),
            "rule": rule,
            "model": model,
            "version": version,
            "package_digest": package,
            "decision": decision,
            "decision_rule": decision_rule,
            "status": self._status(open_rows, answers),
            "outputs": outputs,
        }
        if not whole:
            kept["error"] = errors
        kept |= given(batch, endpoint.content.features, self._subject_ref)
        tally = self._tally(arms[open_rows], outcomes[open_rows])
        routes: dict[str, int] = {}
        for arm, _, count in tally:
            routes[arm.model or ""] = routes.get(arm.model or "", 0) + count
        return Decisions(
            result,
            pa.record_batch(kept),
            0 if whole else int((~open_rows).sum()),
            routes,
            made.failed,
            tally,
        )

    def _tally(self, arms: NDArray[np.intp], outcomes: NDArray[np.int16]) -> Tally:
        """How often each arm had each outcome."""
        width = len(self.endpoint.decided)
        counts = np.bincount(arms * width + outcomes, minlength=len(self._arms) * width)
        return tuple(
            (self._arms[place // width], place % width, int(counts[place]))
            for place in np.flatnonzero(counts).tolist()
        )

    def _decisions(
        self, arms: NDArray[np.intp], outcomes: NDArray[np.int16], mask: Any
    ) -> tuple[Any, Any]:
        """Decision and its rule; a reject decides without a table."""
        import pyarrow as pa

        decided = self.endpoint.decided
        words = [each.decision for each in decided] + ["reject"]
        rules = [each.rule for each in decided] + [None]
        chosen = np.where(self._rejects[arms], len(decided), outcomes)
        picked = pa.array(chosen.astype(np.int32), mask=mask)
        return named(words, picked), named(rules, picked)

    @staticmethod
    def _status(open_rows: NDArray[np.bool_], answers: Answers) -> NDArray[np.int16]:
        found = np.where(open_rows, 200, REFUSED).astype(np.int16)
        for row, error in answers.errors.items():
            if error.code.startswith("model."):
                found[row] = FAILED
        return found


def _output_columns(answers: Answers) -> dict[str, Any]:
    """Answers under the names of a decision table."""
    if answers.codes is not None and answers.probabilities is not None:
        found: dict[str, Any] = {
            "output.label": Coded(answers.codes.astype(np.intp), tuple(answers.classes.tolist()))
        }
        wide = answers.probabilities.astype(np.float64)
        for place, name in enumerate(answers.classes.tolist()):
            found[f"output.probability.{name}"] = wide[:, place]
        return found
    if answers.clusters is not None:
        return {"output.cluster": answers.clusters, "output.distance": answers.values}
    return {"output.value": answers.values}


def _texts(batch: pa.RecordBatch, name: str, rows: NDArray[np.intp]) -> list[Any]:
    """Values of a column as texts; None where there is none."""
    if name not in batch.schema.names:
        return [None] * len(rows)
    values = batch.column(name).take(rows).to_pylist()
    return [value if value is None else str(value) for value in values]
