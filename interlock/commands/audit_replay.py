"""``interlock audit replay``: decide a recorded request again and compare, bit by bit."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
import msgspec

from interlock.remote import Remote, remote_command
from interlock.settings import read_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interlock.settings import Environment


@click.command()
@click.argument("record", type=click.UUID)
@click.option("--row", type=click.IntRange(0), help="Row of a columnar part (`audit parts`).")
@click.option("--subject", help="Whom it was about; only a release with a split needs it.")
@click.option("--reason", help="Why sealed features may be opened; the reading is recorded.")
@click.option("--explain", is_flag=True, help="Also say why the model answered so.")
@remote_command
def replay(
    remote: Remote, record: UUID, *, row: int | None, subject: str | None, reason: str | None,
    explain: bool,
) -> None:  # fmt: skip
    """Decide a recorded request again, with its release and packages, and compare.

    It runs here, on the recorded features and the exact packages; sealed features are opened by the
    control plane, for a person who may, with a reason.

    Exit status: 0 bit-equal, or equal but for the last bits of another processor, 1 different.

    Example: interlock audit replay 01a1f3c2-7d84-7abc-8def-0123456789ab --explain
    """
    from interlock.replay import COMPARED, COMPARED_IN_PARTS, reasons
    from interlock.replay import replay as again
    from serving.store import ArtifactStore

    env = read_environment(home=remote.home.path, role="auditor")
    case = _case(env, remote, record, row, reason)
    store = ArtifactStore.open(env.artifact_store)
    found = again(case, store, subject, COMPARED if row is None else COMPARED_IN_PARTS)
    why = reasons(case, store) if explain else ()
    if remote.as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(found), "reasons": why}))
    else:
        click.echo(f"{found.verdict}: record {found.record}")
        for each in found.differences:
            click.echo(f"  {each.field}: recorded {each.recorded!r}, now {each.replayed!r}")
        for number, words in enumerate(why, 1):
            click.echo(f"{number}. {words}")
    if found.verdict == "different":
        sys.exit(1)


def _case(
    env: Environment, remote: Remote, record: UUID, row: int | None, reason: str | None
) -> Mapping[str, Any]:
    """What was recorded, in the clear."""
    from interlock.part_rows import row_case
    from interlock.replay import ReplayError, is_sealed, opened, read_case
    from serving.audit.link import connect_once

    case = asyncio.run(
        connect_once(env.need_database(), "interlock audit", lambda c: read_case(c, record))
    )
    if case["part"] is not None:
        if row is None:
            raise ReplayError(
                f"the record is a columnar part of {case['rows']} rows: expected which of them",
                at="--row",
                hint="interlock audit parts --subject WHO lists rows with their numbers",
            )
        return row_case(case, row, env.artifact_store)
    if row is not None:
        raise ReplayError("expected a record of a columnar part, this is a single one", at="--row")
    if not is_sealed(case):
        return case
    if not reason:
        raise ReplayError(
            "the record holds sealed features",
            code="audit.sealed",
            at=str(record),
            hint="--reason WHY opens them, for a person who may; the reading is recorded",
        )
    return opened(case, remote.call("POST", f"/audit/records/{record}/reveal", {"reason": reason}))
