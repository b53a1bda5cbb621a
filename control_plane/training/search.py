"""The search for a recipe: seeded, cross-validated, within budgets, every trial kept.

A search that was killed goes on where it was: the kept trials are given back to the sampler, and
their time counts. A trial is reproduced by training its recipe with the same snapshot and split.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import optuna
from msgspec import Struct
from numpy.typing import NDArray
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState

from compiler.errors import AppError
from compiler.models.build import library_versions
from compiler.models.recipe import Recipe
from compiler.schema import FeatureMap, OutputSchema
from control_plane.datasets.quality import rank_auc
from control_plane.training import space
from control_plane.training.fit import FitError, fit, measure
from control_plane.training.schemas import SearchSpec

STARTUP_TRIALS = 8
_T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Two-sided 95% quantile of Student's t with folds - 1 degrees of freedom."""


class SearchError(AppError):
    """No recipe of the search could be fitted."""

    code = "run.search"


class Material(Struct, frozen=True):
    """What recipes are tried on: training rows only."""

    features: FeatureMap
    matrix: NDArray[Any]
    target: NDArray[Any] | None
    output: OutputSchema
    positive: str | None
    snapshot: str


class Outcome(Struct, frozen=True):
    """What a finished search found."""

    recipe: Recipe
    score: float
    trial: int
    trials: int


def folds_of(
    target: NDArray[Any] | None, rows: int, folds: int, seed: int, *, stratify: bool
) -> list[NDArray[np.int64]]:
    """Row numbers of each fold's validation part; classes are spread evenly."""
    random = np.random.Generator(np.random.PCG64(seed))
    order = random.permutation(rows)
    if target is not None and stratify:
        order = order[np.argsort(target[order], kind="stable")]
    return [np.sort(order[part::folds]) for part in range(folds)]


def score_of(
    pipeline: Any, matrix: NDArray[Any], target: NDArray[Any] | None, what: Material, metric: str
) -> float:
    """The maximised metric on rows the pipeline has not seen."""
    if metric == "silhouette":
        return float(measure(pipeline, matrix, None, what.output, None)["silhouette"])
    assert target is not None
    if what.output.task == "regression":
        error = np.asarray(pipeline.predict(matrix), np.float64) - target
        if metric == "neg_rmse":
            return -float(np.sqrt(np.square(error).mean()))
        spread = float(np.square(target - target.mean()).mean())
        return 1.0 - float(np.square(error).mean()) / spread if spread else 0.0
    proba = np.asarray(pipeline.predict_proba(matrix), np.float64)
    codes = np.searchsorted(np.asarray(what.output.classes), target)
    if metric == "neg_log_loss":
        return float(np.log(np.clip(proba[np.arange(len(codes)), codes], 1e-15, 1.0)).mean())
    if what.positive is not None or len(what.output.classes) == 2:
        place = what.output.classes.index(what.positive or what.output.classes[-1])
        return rank_auc(proba[:, place], codes == place)
    return float(np.mean([rank_auc(proba[:, k], codes == k) for k in range(proba.shape[1])]))


def summarise(scores: list[float]) -> dict[str, Any]:
    """Scores by fold with the interval of their mean."""
    mean = float(np.mean(scores))
    if len(scores) < 2:
        return {"folds": scores, "mean": mean, "deviation": 0.0, "interval": None}
    deviation = float(np.std(scores, ddof=1))
    half = _T_95.get(len(scores), 2.1) * deviation / len(scores) ** 0.5
    return {
        "folds": scores,
        "mean": mean,
        "deviation": deviation,
        "interval": [mean - half, mean + half],
    }


class Search:
    """One search; iterate over :meth:`run` and keep what it yields.

    Args:
        spec: budgets, folds, metric, seed.
        what: the training rows.
        past: kept rows of an earlier try, in order.
        clock: seconds.
    """

    def __init__(
        self,
        spec: SearchSpec,
        what: Material,
        past: list[dict[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert spec.metric is not None
        self._spec = spec
        self._metric: str = spec.metric
        self._what = what
        self._clock = clock
        self._libraries = library_versions() | {"optuna": optuna.__version__}
        self._folds = folds_of(
            what.target,
            len(what.matrix),
            spec.folds,
            spec.seed,
            stratify=what.output.task == "classification",
        )
        self.spent_s: float = sum(row["duration_ms"] for row in past) / 1000
        self.best: Outcome | None = None
        self._made = 0
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(
                seed=spec.seed + len(past), n_startup_trials=STARTUP_TRIALS
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        )
        for row in past:
            self._remember(row)

    def _remember(self, row: dict[str, Any]) -> None:
        """Give a kept trial back to the sampler."""
        self._made = row["number"] + 1
        if row["state"] == "failed":
            return
        ranges = {n: json_to_distribution(text) for n, text in row["ranges"].items()}
        complete = row["state"] == "complete"
        self._study.add_trial(
            optuna.trial.create_trial(
                params=row["params"],
                distributions=ranges,
                value=row["score"] if complete else None,
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                intermediate_values=dict(enumerate((row["metrics"] or {}).get("folds", ()))),
            )
        )
        if complete:
            self._consider(msgspec.convert(row["recipe"], Recipe), row["score"], row["number"])

    def _consider(self, recipe: Recipe, score: float, number: int) -> None:
        if self.best is None or score > self.best.score:
            self.best = Outcome(recipe, score, number, 0)

    @property
    def share(self) -> float:
        """How much of the budget is used, 0 to 1."""
        return float(
            min(1.0, max(self._made / self._spec.trials, self.spent_s / self._spec.seconds))
        )

    def run(self) -> Iterator[dict[str, Any]]:
        """Try recipes until a budget is used; yields each as a row of the table of trials."""
        while self.share < 1.0:
            yield self._try_one()

    def _try_one(self) -> dict[str, Any]:
        started = self._clock()
        number, self._made = self._made, self._made + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental and duplicate-range notices of Optuna
            trial = self._study.ask()
            recipe = space.draw(
                trial, self._spec.estimators, self._what.output.task, self._spec.seed
            )
        scores: list[float] = []
        state, error = "complete", None
        try:
            for place, score in enumerate(self._scores(recipe)):
                scores.append(score)
                trial.report(score, place)
                if place + 1 < len(self._folds) and trial.should_prune():
                    state = "pruned"
                    break
        except FitError as failure:
            state, error = "failed", str(failure)
        summary = summarise(scores) if scores else None
        mean: float | None = summary["mean"] if summary and state == "complete" else None
        tell = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED,
                "failed": TrialState.FAIL}[state]  # fmt: skip
        self._study.tell(trial, mean, state=tell)
        if mean is not None:
            self._consider(recipe, mean, number)
        spent = self._clock() - started
        self.spent_s += spent
        return {
            "number": number,
            "recipe": msgspec.to_builtins(recipe),
            "params": trial.params,
            "ranges": {n: distribution_to_json(d) for n, d in trial.distributions.items()},
            "state": state,
            "score": mean,
            "metrics": summary,
            "duration_ms": spent * 1000,
            "libraries": self._libraries,
            "snapshot": self._what.snapshot,
            "seed": self._spec.seed,
            "error": error,
        }

    def _scores(self, recipe: Recipe) -> Iterator[float]:
        what = self._what
        everything = np.arange(len(what.matrix))
        for fold in self._folds:
            train = np.setdiff1d(everything, fold, assume_unique=True)
            target = what.target
            pipeline, _ = fit(
                recipe, what.features, what.matrix[train], None if target is None else target[train]
            )
            yield score_of(
                pipeline,
                what.matrix[fold],
                None if target is None else target[fold],
                what,
                self._metric,
            )

    def outcome(self) -> Outcome:
        """The best recipe.

        Raises:
            SearchError: every trial failed.
        """
        if self.best is None:
            raise SearchError(
                f"none of {self._made} recipes could be fitted",
                hint="look at the trials of the run: each says why",
            )
        return msgspec.structs.replace(self.best, trials=self._made)
