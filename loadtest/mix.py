"""Which model answers how many requests: by the evidence, an export of it, or a run's counters."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from loadtest.serverside import ServerSide

_AGO = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COUNT = """
SELECT endpoint, release, model, version, count(*) AS n,
       min(received_at) AS first, max(received_at) AS last
  FROM audit_records
 WHERE status = 200 AND part IS NULL
   AND received_at >= $1 AND received_at < $2
   AND ($3::text IS NULL OR endpoint = $3)
   AND ($4::bigint IS NULL OR release = $4)
   AND ($5::text IS NULL OR key_id = $5)
 GROUP BY endpoint, release, model, version
"""
_COSTS = "SELECT loaded FROM node_workers"
_CONNECT_S = 5.0
_ASK_S = 120.0


class RouteMix(Struct, frozen=True):
    """How requests were spread over models.

    Attributes:
        source: ``audit``, ``records`` (a file) or ``run``.
        models: answered requests by model.
        versions: versions of each model that answered.
        rejected: requests that a rule refused, so that no model scored them.
        endpoint, releases: of whom.
        first, last: times of the first and the last of them, ISO 8601; empty when not known.
        fallback: why the evidence was not asked; empty when it was.
    """

    source: str
    models: dict[str, float]
    versions: dict[str, tuple[int, ...]] = {}
    rejected: float = 0.0
    endpoint: str = ""
    releases: tuple[int, ...] = ()
    first: str = ""
    last: str = ""
    fallback: str = ""

    @property
    def total(self) -> float:
        """Requests in all."""
        return sum(self.models.values()) + self.rejected

    @property
    def words(self) -> str:
        """Where it is from, in a sentence's part."""
        whose = f" of {self.endpoint}" if self.endpoint else ""
        number = ", ".join(map(str, self.releases))
        release = f", release{'s' * (len(self.releases) > 1)} {number}" if number else ""
        span = f", {self.first} to {self.last}" if self.first else ""
        name = {"audit": "the audit", "records": "exported records", "run": "the run's traffic"}
        return f"{self.total:,.0f} requests{whose} in {name[self.source]}{release}{span}"


class Asked(Struct, frozen=True):
    """Which requests count; None for no bound."""

    since: datetime
    until: datetime
    endpoint: str | None = None
    release: int | None = None
    key_id: str | None = None


def parse_time(text: str, now: datetime) -> datetime:
    """Read ``7d`` (ago), ``90m``, or a date and time of ISO 8601; without a zone it is UTC.

    Raises:
        LoadTestError: neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise LoadTestError(
            f"expected a time such as 7d, 12h or 2026-01-31T08:00, got {text!r}", at="--since"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def read_audit(url: str, asked: Asked) -> tuple[RouteMix, dict[str, float]]:
    """The mix that the evidence shows, and what each model cost when nodes loaded it.

    Args:
        url: PostgreSQL of the stack.
        asked: which requests.

    Returns:
        The mix, and microseconds of one scoring call by model as the nodes measured it at load.

    Raises:
        LoadTestError: it cannot be reached, holds no such requests, or those of several endpoints.
    """
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_S, command_timeout=_ASK_S)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        why = "it is not running" if absent else str(error) or type(error).__name__
        raise LoadTestError(
            f"cannot ask the stack's database: {why}", at="--home",
            hint="is the stack of this home running? interlock up --home DIR",
        ) from None  # fmt: skip
    try:
        rows = await connection.fetch(
            _COUNT, asked.since, asked.until, asked.endpoint, asked.release, asked.key_id
        )
        loaded = await connection.fetch(_COSTS)
    except (asyncpg.PostgresError, TimeoutError) as error:
        raise LoadTestError(f"the stack's database refused: {error}", at="--home") from None
    finally:
        await connection.close()
    return count_rows(rows), package_costs(row["loaded"] for row in loaded)


def count_rows(rows: Iterable[Any]) -> RouteMix:
    """Grouped rows of the evidence as a mix.

    Args:
        rows: mappings with endpoint, release, model, version, n, first and last.

    Raises:
        LoadTestError: none, or of several endpoints.
    """
    found = list(rows)
    endpoints = sorted({row["endpoint"] for row in found})
    if len(endpoints) != 1:
        raise LoadTestError(
            f"the evidence holds requests of {', '.join(endpoints)}" if endpoints
            else "the evidence holds no such requests",
            at="--endpoint" if endpoints else "--since",
            hint="name one endpoint" if endpoints else "widen --since, or wait until it is shipped",
        )  # fmt: skip
    models: dict[str, float] = {}
    versions: dict[str, set[int]] = {}
    for row in found:
        if row["model"] is not None:
            models[row["model"]] = models.get(row["model"], 0.0) + row["n"]
            versions.setdefault(row["model"], set()).add(row["version"] or 0)
    return RouteMix(
        "audit",
        models,
        {name: tuple(sorted(numbers)) for name, numbers in versions.items()},
        float(sum(row["n"] for row in found if row["model"] is None)),
        endpoints[0],
        tuple(sorted({row["release"] for row in found})),
        _minute(min(row["first"] for row in found)),
        _minute(max(row["last"] for row in found)),
    )


def package_costs(loaded: Iterable[str]) -> dict[str, float]:
    """Microseconds of one call by model: the least that any worker measured when it loaded it."""
    found: dict[str, float] = {}
    for text in loaded:
        for release in msgspec.json.decode(text):
            for model in release.get("models", ()):
                cost = float(model.get("cost_us") or 0)
                if cost > 0:
                    found[model["name"]] = min(found.get(model["name"], cost), cost)
    return found


def mix_of_run(server: ServerSide, fallback: str = "") -> RouteMix:
    """The mix of a run's own traffic."""
    models = {name: float(n) for name, n in server.models.items() if name}
    return RouteMix(
        "run", models, rejected=float(server.models.get("", 0)), fallback=fallback,
    )  # fmt: skip


def mix_of_records(path: Path) -> RouteMix:
    """The mix of an export of audit records (NDJSON).

    Raises:
        LoadTestError: it cannot be read, or is something else.
    """
    models: dict[str, float] = {}
    rejected = 0.0
    try:
        for line in path.read_bytes().splitlines():
            record = msgspec.json.decode(line)
            model = record.get("model")
            if model:
                models[model] = models.get(model, 0.0) + 1
            elif record.get("status") == 200:
                rejected += 1
    except (OSError, msgspec.DecodeError, AttributeError) as error:
        raise LoadTestError(
            f"expected audit records, one per line ({error})", at=str(path)
        ) from None
    return RouteMix("records", models, rejected=rejected)


def _minute(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
