"""Decisions about training: what may be asked, and what a run is made of."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec

from compiler.models.recipe import Recipe
from compiler.models.supported import by_word
from control_plane import adminlog
from control_plane.datasets import service as datasets
from control_plane.datasets.schemas import Snapshot
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity.user import User
from control_plane.jobs import service as jobs
from control_plane.paging import Page, TimeCursor, check_limit, decode_cursor, encode_cursor
from control_plane.registry import service as registry
from control_plane.training import store
from control_plane.training.schemas import NewRun, Run, RunStarted

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
    recipe = check(asked, snapshot)
    version = await registry.reserve_version(connection, asked.model, user)
    run = uuid4()
    payload = {
        "run": str(run),
        "dataset": asked.dataset,
        "snapshot": snapshot.digest,
        "model": asked.model,
        "version": version,
        "recipe": msgspec.to_builtins(recipe),
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
        search=None,
        created_by=user.email,
    )
    await adminlog.note(
        connection, user.email, "run.start", f"{asked.model}/{version}", run=str(run)
    )
    return RunStarted(run, job, asked.model, version)


def check(asked: NewRun, snapshot: Snapshot) -> Recipe:
    """The recipe of a request that can be trained.

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
    if not 0 <= asked.recipe.seed < 2**32:
        raise InvalidError("expected a seed from 0 to 2**32 - 1", code="run.seed", at="recipe.seed")
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
    spec = asked.recipe
    by_word(spec.estimator, snapshot.output.task)
    return Recipe(snapshot.output.task, spec.estimator, spec.params, spec.preprocessing, spec.seed)


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
