"""Decisions about training: what may be asked, and what a run is made of."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec

from compiler.models.recipe import Recipe
from compiler.models.supported import by_word
from compiler.schema import Task
from control_plane import adminlog
from control_plane.datasets import service as datasets
from control_plane.datasets.schemas import Snapshot
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity.user import User
from control_plane.jobs import service as jobs
from control_plane.paging import (
    Page,
    TimeCursor,
    check_limit,
    decode_cursor,
    encode_cursor,
    read_cursor,
    write_cursor,
)
from control_plane.registry import service as registry
from control_plane.training import space, store
from control_plane.training.schemas import NewRun, Run, RunStarted, SearchSpec, Trial

MIN_TEST, MAX_TEST = 0.05, 0.5


async def start(connection: Connection, user: User, asked: NewRun) -> RunStarted:
    """Reserve a version and queue its training, inside a transaction.

    Raises:
        NotFoundError: no such dataset or snapshot.
        InvalidError: the request cannot be trained; says where.
        AppError: an estimator that is not on the allow-list.
        ConflictError: the snapshot has findings of level error.
    """
    snapshot = await datasets.find_snapshot(connection, asked.dataset, asked.snapshot)
    recipe, search = check(asked, snapshot)
    version = await registry.reserve_version(connection, asked.model, user)
    run = uuid4()
    payload = {
        "run": str(run),
        "dataset": asked.dataset,
        "snapshot": snapshot.digest,
        "model": asked.model,
        "version": version,
        "recipe": msgspec.to_builtins(recipe),
        "search": msgspec.to_builtins(search),
        "test_fraction": asked.test_fraction,
        "exclude": list(asked.exclude),
        "accept_findings": asked.accept_findings,
    }
    job, _ = await jobs.enqueue(connection, "train", payload, created_by=user.email)
    await store.add_run(
        connection,
        run,
        job,
        asked,
        snapshot=snapshot.digest,
        version=version,
        recipe=payload["recipe"],
        search=payload["search"],
        created_by=user.email,
    )
    await adminlog.note(
        connection, user.email, "run.start", f"{asked.model}/{version}", run=str(run)
    )
    return RunStarted(run, job, asked.model, version)


def check(asked: NewRun, snapshot: Snapshot) -> tuple[Recipe | None, SearchSpec | None]:
    """The recipe, or the search, of a request that can be trained.

    Raises:
        InvalidError: says where.
        ConflictError: unaccepted findings of level error.
    """
    registry.check_name(asked.model)
    if not MIN_TEST <= asked.test_fraction <= MAX_TEST:
        raise InvalidError(
            f"expected a test_fraction from {MIN_TEST} to {MAX_TEST}, got {asked.test_fraction}",
            code="run.test_fraction",
            at="test_fraction",
        )
    for name in asked.exclude:
        if name not in snapshot.features:
            raise InvalidError(
                f"expected a feature of the snapshot, got {name!r}", code="run.exclude",
                at="exclude",
            )  # fmt: skip
    serious = [f for f in snapshot.findings if f.level == "error" and f.column not in asked.exclude]
    if serious and not asked.accept_findings.strip():
        raise ConflictError(
            f"the snapshot has a serious finding: {serious[0].column}: {serious[0].message}",
            code=f"run.{serious[0].code}",
            at=serious[0].column,
            hint="leave the column out with `exclude`, or say in `accept_findings` why it is fine",
        )
    task = snapshot.output.task
    if (asked.recipe is None) == (asked.search is None):
        raise InvalidError("expected either a recipe or a search", code="run.recipe", at="recipe")
    if asked.search is not None:
        return None, check_search(asked.search, task, snapshot.rows)
    assert asked.recipe is not None
    spec = asked.recipe
    check_seed(spec.seed, "recipe.seed")
    by_word(spec.estimator, task)
    return Recipe(task, spec.estimator, spec.params, spec.preprocessing, spec.seed), None


def check_seed(seed: int, at: str) -> None:
    """Stop at a seed that the libraries do not take.

    Raises:
        InvalidError: ``run.seed``.
    """
    if not 0 <= seed < 2**32:
        raise InvalidError("expected a seed from 0 to 2**32 - 1", code="run.seed", at=at)


def check_search(search: SearchSpec, task: Task, rows: int) -> SearchSpec:
    """A search that can be run, with its defaults filled in.

    Raises:
        InvalidError: a budget, fold count or metric out of bounds.
        UnsupportedEstimatorError: not on the allow-list.
    """
    check_seed(search.seed, "search.seed")
    bounds = {
        "trials": (search.trials, 1, 1000),
        "seconds": (search.seconds, 1.0, 86_400.0),
        "folds": (search.folds, 2, min(20, rows // 10)),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise InvalidError(
                f"expected {name} from {low} to {high}, got {value}",
                code=f"run.{name}",
                at=f"search.{name}",
            )
    known = space.METRICS[task]
    metric = search.metric or known[0]
    if metric not in known:
        raise InvalidError(
            f"expected one of {', '.join(known)} for {task}, got {metric!r}",
            code="run.metric",
            at="search.metric",
        )
    estimators = search.estimators or space.DEFAULTS[task]
    for word in estimators:
        by_word(word, task)
        if word not in space.SPACES[task]:
            raise InvalidError(
                f"{word!r} has no search space",
                code="run.estimators",
                at="search.estimators",
                hint=f"expected some of {', '.join(space.SPACES[task])}",
            )
    return msgspec.structs.replace(search, metric=metric, estimators=estimators)


async def find(connection: Connection, run: UUID) -> Run:
    """A run by its id.

    Raises:
        NotFoundError: there is none.
    """
    found = await store.one_run(connection, run)
    if found is None:
        raise NotFoundError(f"there is no run {run}", code="run.unknown")
    return found


async def listing(
    connection: Connection, *, model: str | None, dataset: str | None, cursor: str, limit: int
) -> Page[Run]:
    """A page of runs, newest first.

    Raises:
        InvalidError: not a cursor or limit.
    """
    runs = await store.many_runs(
        connection,
        model=model,
        dataset=dataset,
        after=decode_cursor(cursor),
        limit=check_limit(limit) + 1,
    )
    if len(runs) <= limit:
        return Page(runs)
    last = runs[limit - 1]
    return Page(runs[:limit], encode_cursor(TimeCursor(last.created_at, last.id)))


async def leaderboard(connection: Connection, run: UUID, cursor: str, limit: int) -> Page[Trial]:
    """The trials of a search, best first.

    Raises:
        NotFoundError: no such run.
        InvalidError: not a cursor or limit.
    """
    await find(connection, run)
    skip: int = min(max(0, read_cursor(cursor, int)[0]), 2**31) if cursor else 0
    trials = await store.trials(connection, run, skip, check_limit(limit) + 1)
    following = write_cursor(skip + limit) if len(trials) > limit else None
    return Page(trials[:limit], following)
