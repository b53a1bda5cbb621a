"""The registry as people read it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import NotFoundError
from control_plane.paging import Page, page_of, read_cursor
from control_plane.registry.schemas import (
    AliasRow,
    ApprovalRow,
    Comparison,
    Difference,
    EventRow,
    ModelRow,
    ModelView,
    ReportRow,
    UseRow,
    VersionRow,
    VersionView,
)
from control_plane.registry.service import bounded, find_version

_SQL = sql.load("control_plane.registry")
EVER = 2**62
"""Above every id of a table."""


async def list_models(connection: Connection, cursor: str, limit: int) -> Page[ModelRow]:
    """Models by name, each with its newest version."""
    after = read_cursor(cursor, str)[0] if cursor else ""
    rows = await connection.fetch(_SQL["list_models"], after, limit + 1)
    return page_of(
        rows,
        limit,
        lambda r: ModelRow(
            r["name"], r["tier"], r["created_by"], r["created_at"], r["version"], r["state"]
        ),
        lambda r: (r["name"],),
    )


async def read_model(connection: Connection, name: str) -> ModelView:
    """One model with where its aliases point now.

    Raises:
        NotFoundError: no such model.
    """
    row = await connection.fetchrow(_SQL["find_model"], name)
    if row is None:
        raise NotFoundError(f"there is no model {name[:80]!r}", code="model.unknown")
    aliases = await connection.fetch(_SQL["current_aliases"], name)
    return ModelView(**row, aliases={a["alias"]: a["version"] for a in aliases})


async def list_versions(
    connection: Connection, model: str, cursor: str, limit: int
) -> Page[VersionRow]:
    """Versions of a model, newest first."""
    before = read_cursor(cursor, int)[0] if cursor else 2**31 - 1
    rows = await connection.fetch(_SQL["list_versions"], model, bounded(before), limit + 1)
    return page_of(
        rows,
        limit,
        lambda r: VersionRow(
            r["version"],
            r["state"],
            r["state_at"],
            r["package_digest"],
            r["run_id"],
            r["created_by"],
            r["created_at"],
            list(r["contributors"]),
        ),
        lambda r: (r["version"],),
    )


async def read_version(connection: Connection, model: str, version: int) -> VersionView:
    """Everything about a version.

    Raises:
        NotFoundError: no such version.
    """
    row = await find_version(connection, model, version)
    raw = row["manifest"]
    manifest: dict[str, Any] | None = None if raw is None else msgspec.json.decode(raw)
    known = manifest or {}
    history = await connection.fetch(_SQL["list_events"], model, version)
    approvals = await connection.fetch(_SQL["list_approvals"], model, version)
    uses = await connection.fetch(_SQL["list_uses"], model, version)
    return VersionView(
        model=model,
        version=version,
        tier=row["tier"],
        state=row["state"],
        package=row["package_digest"],
        run=row["run_id"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        contributors=list(row["contributors"]),
        manifest=manifest,
        metrics=known.get("metrics", {}),
        parity=known.get("parity", {}),
        lineage=known.get("lineage", {}),
        reports=await list_reports(connection, model, version),
        approvals=[ApprovalRow(**approval) for approval in approvals],
        releases=[UseRow(**use) for use in uses],
        history=[EventRow(**event) for event in history],
    )


async def list_reports(connection: Connection, model: str, version: int) -> list[ReportRow]:
    """The reports of a version and who opened them."""
    rows = await connection.fetch(_SQL["list_reports"], model, bounded(version))
    return [ReportRow(**row) for row in rows]


async def open_report(
    connection: Connection, model: str, version: int, name: str, person: str
) -> tuple[bytes, str, str]:
    """Content, media type and digest of a report; that this person opened it is recorded.

    Raises:
        NotFoundError: no such report.
    """
    row = await connection.fetchrow(_SQL["find_report"], model, bounded(version), name)
    if row is None:
        raise NotFoundError(f"there is no report {name[:80]!r}", code="report.unknown")
    await connection.execute(_SQL["note_opening"], model, version, row["digest"], person)
    return bytes(row["content"]), row["media_type"], row["digest"]


async def list_aliases(
    connection: Connection, model: str, known_at: datetime, cursor: str, limit: int
) -> Page[AliasRow]:
    """Moves of a model's aliases that were recorded by a time, newest first."""
    before = max(0, min(read_cursor(cursor, int)[0], EVER)) if cursor else EVER
    rows = await connection.fetch(_SQL["list_aliases"], model, known_at, before, limit + 1)
    return page_of(rows, limit, lambda r: AliasRow(**r), lambda r: (r["id"],))


async def compare(connection: Connection, model: str, before: int, after: int) -> Comparison:
    """What differs between the manifests of two versions.

    Raises:
        NotFoundError: no such version.
    """
    old = await read_version(connection, model, before)
    new = await read_version(connection, model, after)
    found: list[Difference] = []
    _differ("", old.manifest or {}, new.manifest or {}, found)
    _differ("", {"state": old.state}, {"state": new.state}, found)
    same = (old.manifest or {}).get("features") == (new.manifest or {}).get("features")
    return Comparison(model, before, after, same, found)


def _differ(at: str, old: Any, new: Any, found: list[Difference]) -> None:
    """Collect leaves that differ; files differ by nature and are left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            place = f"{at}.{key}" if at else key
            if place not in {"files", "version"}:
                _differ(place, old.get(key), new.get(key), found)
    elif old != new:
        found.append(Difference(at, old, new))
