"""Many rows through one release: route, score, decide, with the evidence of each row.

Every step works on whole columns: the generated vector function of the rules, one run of each model
over the rows that it answers, the vector function of the decision table. The outcome of a row is,
bit for bit, that of a single request with the same values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from compiler.errors import AppError
from compiler.models.values import Coded
from compiler.rules.ast import SplitConsequent
from compiler.rules.splits import assign_many
from router.arms import Arm, Split, unknown_rule
from router.columnar.inputs import SPLIT, SUBJECT, Inputs, column_name, read_inputs
from router.columnar.tables import Names, given, id_words, label_and_value, random_ids
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


class Made(Struct, frozen=True):
    """What an endpoint decided about a batch, by row.

    Attributes:
        inputs: what was read.
        arms: shape (rows,), numbers of :attr:`ColumnarEndpoint.arms`.
        open_rows: shape (rows,), rows without an error.
        answers: of the models.
        outcomes: shape (rows,), outcomes of the decision table; the last one stands for none.
        failed: problems of rows that fitted the schema.
        spent_ns: time in each model.
    """

    inputs: Inputs
    arms: NDArray[np.intp]
    open_rows: NDArray[np.bool_]
    answers: Answers
    outcomes: NDArray[np.int16]
    failed: dict[int, AppError]
    spent_ns: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether no row has an error."""
        return bool(self.open_rows.all())


class ColumnarEndpoint:
    """One endpoint over columns; may be called from several threads.

    Attributes:
        endpoint: its release.
        arms: everything that its leaves lead to, the arms of splits one by one.
        rejects: shape (arms,), those that decide without a model.
        decisions: of the decision table, one for none, and that of a reject.
        decision_rules: rules of these.

    Args:
        endpoint: its release.
        subject_ref: keyed hash of a subject.
    """

    def __init__(self, endpoint: Endpoint, *, subject_ref: Callable[[str], str]) -> None:
        self.endpoint = endpoint
        self._subject_ref = subject_ref
        self._lenient = endpoint.policies.input == "lenient"
        self.arms: list[Arm] = []
        self._first: list[int] = []
        for leaf in endpoint.arms:
            self._first.append(len(self.arms))
            self.arms += [leaf] if isinstance(leaf, Arm) else leaf.arms
        self._by_model: dict[str, NDArray[np.intp]] = {}
        for name in endpoint.models:
            found = [place for place, arm in enumerate(self.arms) if arm.model == name]
            self._by_model[name] = np.asarray(found, np.intp)
        self.rejects = np.asarray([arm.model is None for arm in self.arms], bool)
        self._some_reject = bool(self.rejects.any())
        decided = endpoint.decided
        self.decisions = (*(each.decision for each in decided), "reject")
        self.decision_rules = (*(each.rule for each in decided), None)
        self._rules = Names([arm.rule for arm in self.arms])
        self._models = Names([arm.model for arm in self.arms])
        self._packages = Names([arm.package for arm in self.arms])
        self._words, self._word_rules = Names(self.decisions), Names(self.decision_rules)
        self._versions = np.asarray([arm.version or 0 for arm in self.arms], np.int32)

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
        made = self.settle(batch, now_us)
        evidence = self.evidence(batch, made, first_row=first_row, ids=ids)
        tally = self.tally(made)
        routes: dict[str, int] = {}
        for arm, _, count in tally:
            routes[arm.model or ""] = routes.get(arm.model or "", 0) + count
        errors = int((~made.open_rows).sum())
        return Decisions(_result(evidence, made), evidence, errors, routes, made.failed, tally)

    def settle(self, batch: pa.RecordBatch, now_us: int) -> Made:
        """Decide about every row, without tables of it; arguments as of :meth:`decide`.

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
        spent_ns = {}
        for name, members in self._by_model.items():
            chosen = np.isin(arms, members) if len(members) != 1 else arms == members[0]
            rows = np.flatnonzero(chosen & open_rows)
            if len(rows):
                started = time.perf_counter_ns()
                answers.score(endpoint.models[name], inputs.model, rows)
                spent_ns[name] = time.perf_counter_ns() - started
        failed |= answers.errors
        outcomes = self._outcomes(inputs, answers, now_us, failed)
        for row, error in failed.items():
            problems[row] = f"{error.code}: {error.message}"
            open_rows[row] = False
        return Made(inputs, arms, open_rows, answers, outcomes, failed, spent_ns)

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

    def evidence(
        self, batch: pa.RecordBatch, made: Made, *, first_row: int = 0, ids: Any = None
    ) -> pa.RecordBatch:
        """What a columnar part keeps of a batch; arguments as of :meth:`decide`."""
        import pyarrow as pa

        rows, endpoint, whole = made.inputs.rows, self.endpoint, made.whole
        mask = None if whole else ~made.open_rows
        arms, outcomes = made.arms, self.outcomes(made)
        unversioned = mask
        if self._some_reject:
            rejected = self.rejects.take(arms)
            unversioned = rejected if mask is None else mask | rejected
        raw = random_ids(rows) if ids is None else np.ascontiguousarray(ids, np.uint8)
        if raw.shape != (rows, 16):
            raise ValueError(f"expected ids of shape ({rows}, 16), got {raw.shape}")
        kept = {
            "row": np.arange(first_row, first_row + rows),
            "id": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), rows, [None, pa.py_buffer(raw)]
            ),
            "rule": self._rules.column(arms, mask),
            "model": self._models.column(arms, mask),
            "version": pa.array(self._versions.take(arms), mask=unversioned),
            "package_digest": self._packages.column(arms, mask),
            "decision": self._words.column(outcomes, mask),
            "decision_rule": self._word_rules.column(outcomes, mask),
            "status": self._status(made.open_rows, made.answers),
            "outputs": outputs_json(made.answers, endpoint.content.output),
        }
        if not whole:
            kept["error"] = pa.array(made.inputs.problems, pa.string())
        kept |= given(batch, endpoint.content.features, self._subject_ref)
        return pa.record_batch(kept)

    def tally(self, made: Made) -> Tally:
        """How often each arm had each outcome."""
        width = len(self.endpoint.decided)
        pairs = made.arms * width + made.outcomes
        if not made.whole:
            pairs = pairs[made.open_rows]
        counts = np.bincount(pairs, minlength=len(self.arms) * width)
        return tuple(
            (self.arms[place // width], place % width, int(counts[place]))
            for place in np.flatnonzero(counts).tolist()
        )

    def outcomes(self, made: Made) -> NDArray[np.intp]:
        """Numbers of :attr:`decisions` by row; a reject decides without a table."""
        if not self._some_reject:
            return made.outcomes.astype(np.intp)
        return np.where(self.rejects.take(made.arms), len(self.decisions) - 1, made.outcomes)

    @staticmethod
    def _status(open_rows: NDArray[np.bool_], answers: Answers) -> NDArray[np.int16]:
        found = np.where(open_rows, 200, REFUSED).astype(np.int16)
        for row, error in answers.errors.items():
            if error.code.startswith("model."):
                found[row] = FAILED
        return found


def _result(evidence: pa.RecordBatch, made: Made) -> pa.RecordBatch:
    """The answers of a stream, out of what is kept of them."""
    import pyarrow as pa

    label, value = label_and_value(made.answers)
    kept = evidence.column
    ids = np.frombuffer(kept("id").buffers()[1], np.uint8).reshape(-1, 16)
    whole = "error" not in evidence.schema.names
    return pa.record_batch(
        {
            "row": kept("row"),
            "id": id_words(ids),
            "rule": kept("rule").dictionary_decode(),
            "model": kept("model").dictionary_decode(),
            "version": kept("version").cast(pa.int64()),
            "decision": kept("decision").dictionary_decode(),
            "label": label.dictionary_decode(),
            "value": value,
            "outputs": kept("outputs"),
            "error": pa.nulls(len(ids), pa.string()) if whole else kept("error"),
        }
    )


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
