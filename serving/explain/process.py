"""The explainer process: explains recorded decisions near-line, in chunks, exactly once.

Its work list is filled by the shipper in the transaction that stores the records. A chunk is
locked, explained, stored and taken off the list in one transaction, so several explainers share
the work and a killed one leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import asyncpg
import msgspec
import uvloop

from compiler.errors import AppError
from compiler.schema_decode import decode_features_slow
from serving.audit import merkle
from serving.audit.link import TRANSIENT, DeadlineExceeded, Link, day_of
from serving.audit.row import leaf_bytes
from serving.audit.seal import SEALED_MARK, MasterKey
from serving.audit.sealing import reveal
from serving.audit.store import NEXT_BATCHES, NewBatch, copy_explanations, write_batch
from serving.explain.explainer import Explainer, load_explainer
from serving.explain.reasons import in_words
from serving.priority import step_back
from serving.settings import ExplainerSettings
from serving.store import ArtifactStore

ADVERSE = 1
"""``explain`` of a record whose reasons name what spoke against; other wishes get both sides."""
IF_CHEAP = 3
"""``explain`` of a record that is explained only while its model's explanations are cheap."""
ASKED_FOR = 2
COST_WEIGHT = 0.05
"""Weight of one explanation in the mean cost of its package."""
CHUNK_S = 5.0
"""A transaction explains for at most this long, so that a slow model shows progress."""
FIRST_PAUSE_S = 0.05

TAKE = """
SELECT u.batch, u.next_leaf, b.retention_class, b.first_at, b.last_at
  FROM audit_unexplained AS u JOIN audit_batches AS b ON b.id = u.batch
 ORDER BY u.batch LIMIT 1 FOR UPDATE OF u SKIP LOCKED
"""
RECORDS = """
SELECT id, received_at, endpoint, rule, package_digest, features, explain, reason, leaf
  FROM audit_records
 WHERE retention_class = $1 AND received_at BETWEEN $2 AND $3 AND batch = $4 AND leaf >= $5
   AND explain > 0 AND status = 200
 ORDER BY leaf LIMIT $6
"""
ASKED = """
SELECT q.record_id, q.received_at FROM audit_explain_requests AS q
 ORDER BY q.requested_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
ONE = """
SELECT r.id, r.received_at, r.endpoint, r.rule, r.package_digest, r.features, r.explain, r.reason,
       r.leaf, r.retention_class
  FROM unnest($1::uuid[], $2::timestamptz[]) AS q (id, at)
  JOIN audit_records AS r ON r.id = q.id AND r.received_at = q.at
 WHERE r.status = 200
"""
ANSWERED = "DELETE FROM audit_explain_requests WHERE record_id = ANY($1)"
PROGRESS = "UPDATE audit_unexplained SET next_leaf = $2 WHERE batch = $1"
DONE = "DELETE FROM audit_unexplained WHERE batch = $1"

log = logging.getLogger("interlock.explainer")
_json = msgspec.json.Encoder(order="sorted").encode


def _phi_text(phi: Mapping[str, float]) -> str:
    return _json(phi).decode()


class Explainers:
    """Explainers by package digest, the most recently used kept in memory."""

    def __init__(self, store: ArtifactStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._loaded: OrderedDict[str, Explainer] = OrderedDict()

    def get(self, digest: str) -> Explainer:
        """The explainer of a package, verified when it is loaded.

        Raises:
            AppError: the store does not have it, or it is damaged.
        """
        found = self._loaded.get(digest)
        if found is None:
            folder = self._store.fetch(digest)
            found = self._loaded[digest] = load_explainer(folder, expected_digest=digest)
            if len(self._loaded) > self._limit:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(digest)
        return found


def explain_row(row: Mapping[str, Any], explainers: Explainers, now_us: int) -> list[Any]:
    """Values of ``EXPLANATION_COLUMNS`` for one record; a failure is a value too.

    Args:
        row: a record as ``RECORDS`` gives it, times in microseconds.
        explainers: by package.
        now_us: when it was explained.
    """
    digest = row["package_digest"]
    head = [row["id"].bytes, row["received_at"], row["endpoint"], digest or ""]
    if digest is None:  # no model decided: the rule is the reason
        why = row["reason"] or f"decided by rule {row['rule']}"
        return [*head, "rule", "rule", None, {}, (why,), None, "ok", None, now_us]
    if SEALED_MARK in row["features"]:  # guessing around missing values would be a wrong reason
        detail = "sensitive values are sealed: their key is destroyed, or not here"
        return [*head, "none", "none", None, {}, (), None, "failed", detail, now_us]
    try:
        explainer = explainers.get(digest)
        features = explainer.model.features
        decoded = decode_features_slow(row["features"], features, extra="ignore", lenient=True)
        found = explainer.explain(decoded.values)
        reasons = in_words(found, decoded.values, features, adverse=row["explain"] == ADVERSE)
    except (AppError, ValueError, ArithmeticError) as error:
        detail = f"{type(error).__name__}: {error}"
        return [*head, "none", "none", None, {}, (), None, "failed", detail, now_us]
    if not all(map(math.isfinite, (found.base, found.residual, *found.phi.values()))):
        detail = "the explanation is not finite"
        return [*head, found.method, found.space, None, {}, (), None, "failed", detail, now_us]
    phi = {name: value + 0.0 for name, value in found.phi.items()}  # JSON numbers have no -0.0
    return [
        *head, found.method, found.space, found.base, phi, reasons, found.residual,
        found.state, None, now_us,
    ]  # fmt: skip


def _skipped(row: Mapping[str, Any], cost_us: float, now_us: int) -> list[Any]:
    """Values of an explanation that its endpoint wants only while it is cheap."""
    detail = f"an explanation costs {cost_us / 1000:.1f} ms now; ask for it by the record's id"
    return [
        row["id"].bytes, row["received_at"], row["endpoint"], row["package_digest"] or "", "none",
        "none", None, {}, (), None, "skipped", detail, now_us,
    ]  # fmt: skip


class ExplainerProcess:
    """Works the list down until told to stop.

    Args:
        settings: see there.
        clock: wall clock in ns.
        monotonic: clock for the length of a chunk, in seconds.
    """

    def __init__(
        self,
        settings: ExplainerSettings,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.explained = 0
        self._explainers = Explainers(
            ArtifactStore.open(settings.artifact_store), settings.packages
        )
        self._master = MasterKey.load(settings.master_key) if settings.master_key else None
        self._clock = clock
        self._monotonic = monotonic
        self._link = Link(
            settings.database_url,
            f"interlock explainer {settings.node}",
            deadline_s=settings.deadline_s + CHUNK_S,
        )
        self._costs: dict[str, float] = {}
        self._warm: set[str] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Finish the current chunk, then end."""
        self._stop.set()

    async def run(self) -> None:
        """Explain until :meth:`stop`."""
        failures = 0
        try:
            while not self._stop.is_set():
                try:
                    found = await self.chunk()
                    failures = 0
                except (*TRANSIENT, DeadlineExceeded) as error:
                    failures += 1
                    found = False
                    if failures in (1, 10) or failures % 100 == 0:
                        log.warning("attempt %d: %s: %s", failures, type(error).__name__, error)
                if not found:
                    await self._pause(failures)
        finally:
            await self._link.close()

    async def chunk(self) -> bool:
        """Explain one chunk; False when there was nothing to do."""
        return await self._link.use(self._chunk)

    async def _chunk(self, connection: asyncpg.Connection) -> bool:
        limit = self.settings.batch_rows
        async with connection.transaction():
            if await self._asked(connection):
                return True
            work = await connection.fetchrow(TAKE)
            if work is None:
                return False
            batch = work["batch"]
            rows = await connection.fetch(
                RECORDS, work["retention_class"], work["first_at"], work["last_at"], batch,
                work["next_leaf"], limit,
            )  # fmt: skip
            rows = await self._opened(connection, rows)
            # In a thread: the loop must answer signals while a forest is explained.
            explained = await asyncio.to_thread(self._explain, rows)
            if explained:
                await self._store(connection, work, explained)
            if len(rows) < limit and len(explained) == len(rows):
                await connection.execute(DONE, batch)
            else:
                await connection.execute(PROGRESS, batch, rows[len(explained) - 1]["leaf"] + 1)
        self.explained += len(explained)
        return True

    async def _asked(self, connection: asyncpg.Connection) -> bool:
        """Explain what people wait for; it goes before the rest."""
        wanted = await connection.fetch(ASKED, self.settings.batch_rows)
        if not wanted:
            return False
        ids = [row["record_id"] for row in wanted]
        found = await connection.fetch(ONE, ids, [row["received_at"] for row in wanted])
        rows = [{**dict(row), "explain": row["explain"] or ASKED_FOR} for row in found]
        groups: dict[tuple[str, date], list[dict[str, Any]]] = {}
        for row in await self._opened(connection, rows):
            key = (row["retention_class"], day_of(row["received_at"]))
            groups.setdefault(key, []).append(row)
        for (retention_class, _), members in groups.items():
            explained = await asyncio.to_thread(self._explain, members, forced=True)
            work = {"retention_class": retention_class, "first_at": members[0]["received_at"]}
            await self._store(connection, work, explained)
        await connection.execute(ANSWERED, ids)
        self.explained += len(rows)
        return True

    async def _opened(
        self, connection: asyncpg.Connection, rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Rows with their sensitive values opened, each such reading recorded."""
        opened = []
        for row in rows:
            values = dict(row)
            if self._master is not None and SEALED_MARK in values["features"]:
                values["features"] = await reveal(
                    connection, self._master, values["id"].bytes, values["features"],
                    actor="explainer", reason="near-line explanation",
                )  # fmt: skip
            opened.append(values)
        return opened

    def _explain(
        self, rows: Sequence[Mapping[str, Any]], *, forced: bool = False
    ) -> list[list[Any]]:
        """Values of explanations for the first rows, as many as a chunk's time allows.

        Args:
            rows: records, opened.
            forced: somebody waits for each of them: no limit of time or cost.
        """
        until = self._monotonic() + CHUNK_S
        explained = []
        for row in rows:
            now_us = self._clock() // 1000
            digest = row["package_digest"] or ""
            cost_us = self._costs.get(digest, 0.0)
            if row["explain"] == IF_CHEAP and not forced and cost_us > self.settings.cheap_us:
                explained.append(_skipped(row, cost_us, now_us))
                continue
            started = self._monotonic()
            explained.append(explain_row(row, self._explainers, now_us))
            self._note_cost(digest, (self._monotonic() - started) * 1e6)
            if not forced and self._monotonic() > until:
                break
        return explained

    def _note_cost(self, digest: str, cost_us: float) -> None:
        """Remember what an explanation of a package costs: a moving mean, its loading left out."""
        known = self._costs.get(digest)
        if known is None and digest not in self._warm:
            self._warm.add(digest)  # the first one loads the package
            return
        self._costs[digest] = cost_us if known is None else known + (cost_us - known) * COST_WEIGHT

    async def _store(
        self, connection: asyncpg.Connection, work: Mapping[str, Any], rows: list[list[Any]]
    ) -> None:
        leaves = [merkle.leaf_hash(leaf_bytes(values)) for values in rows]
        number = await connection.fetchval(NEXT_BATCHES, 1)
        await copy_explanations(connection, number, rows, _phi_text)
        day, span = day_of(work["first_at"]), (rows[0][-1], rows[-1][-1])
        batch = NewBatch(number, "explanations", work["retention_class"], day, leaves, span)
        await write_batch(connection, batch)

    async def _pause(self, failures: int) -> None:
        seconds = self.settings.poll_ms / 1000
        if failures:
            seconds = min(self.settings.backoff_max_s, FIRST_PAUSE_S * 2 ** min(failures, 16))
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


async def _main(settings: ExplainerSettings) -> None:
    process = ExplainerProcess(settings)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, process.stop)
    log.info("explaining records of %s", settings.artifact_store)
    await process.run()
    log.info("stopped after %d explanations", process.explained)


def run(settings: ExplainerSettings) -> None:
    """Explain recorded decisions until SIGTERM; returns when the current chunk is stored.

    It gives way to the routers of its machine: answers are waited for, explanations are not.
    """
    step_back()
    uvloop.run(_main(settings))
