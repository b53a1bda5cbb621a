"""``interlock audit``: ask the evidence, take it out, prove that nothing was changed."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click
import msgspec

from compiler.errors import AppError
from interlock.commands.audit_acts import ACTS, part_rows
from interlock.commands.audit_replay import replay
from interlock.present import show_rows
from interlock.remote import Remote, remote_command
from interlock.settings import read_environment

if TYPE_CHECKING:
    import asyncpg

    from serving.audit.certificate import Certificate
    from serving.audit.verify import Report

T = TypeVar("T")
FAILED = 1
FINDINGS_SHOWN = 50
DECISION = (
    "received_at", "id", "endpoint", "release", "rule", "model", "version", "decision", "status",
)  # fmt: skip

IN_PARTS = ("status", "decision", "rule", "version", "model", "request_id")
"""Filters of a query that rows of columnar parts can be held against, too."""
IN_RECORDS = ("key_id", "release", "outcome", "override")
"""Those that are about records alone."""

HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the stack (INTERLOCK_HOME, else ~/.interlock).",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Machine output.")
KEY = click.option(
    "--key", help="Trusted public ledger key (base64 or a file); else those of the home's roster."
)
SINCE = click.option("--since", type=click.DateTime(), help="First time (UTC), inclusive.")
UNTIL = click.option("--until", type=click.DateTime(), help="End (UTC), exclusive.")


class AuditGroup(click.Group):
    """Refusals end with their message and status 1, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AppError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(FAILED)


@click.group(cls=AuditGroup)
def audit() -> None:
    """Query, export and verify the evidence."""


for act in (*ACTS, replay):
    audit.add_command(act)


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that narrow a query or an export."""
    for name, kind, text in (
        ("--status", int, "HTTP status of the answer."),
        ("--key-id", str, "Routing key."),
        ("--decision", str, "Word of the decision table."),
        ("--rule", str, "Deciding rule."),
        ("--version", int, "Version of the model."),
        ("--model", str, "Model that scored."),
        ("--release", int, "Release number."),
        ("--endpoint", str, "Endpoint."),
        ("--request-id", str, "The caller's own id."),
    ):
        command = click.option(name, type=kind, help=text)(command)
    return command


@audit.command()
@filters
@click.option("--subject", help="Whom the decisions are about.")
@click.option("--outcome", help="Label of what came of them.")
@click.option("--override", help="What a person decided instead.")
@SINCE
@UNTIL
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most.")
@remote_command
def query(remote: Remote, *, limit: int, **wanted: Any) -> None:
    """List decisions, newest first; with --subject also those in the parts of bulk jobs."""
    for name in ("since", "until"):
        at = _utc(wanted[name])
        wanted[name] = at.isoformat() if at else None
    rows: Iterator[dict[str, Any]] = remote.pages("/audit/records", **wanted)
    if wanted["subject"] and not any(wanted[name] for name in IN_RECORDS):
        rows = itertools.chain(rows, _part_rows(remote, wanted))
    rows = itertools.islice(rows, limit)
    show_rows(rows, DECISION, as_json=remote.as_json, empty="no such decisions")


def _part_rows(remote: Remote, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of parts in the shape of records."""
    asked = {name: wanted[name] for name in ("subject", "endpoint", "since", "until")}
    for found in part_rows(remote, **asked):
        row = found["values"]
        if all(wanted[name] in (None, row.get(name)) for name in IN_PARTS):
            yield {**row, **{name: found[name] for name in ("received_at", "endpoint", "release")}}


@audit.command()
@click.argument("record", type=click.UUID)
@KEY
@remote_command
def show(remote: Remote, record: UUID, *, key: str | None) -> None:
    """One decision with explanation, release, package, approvals and proof."""
    from serving.audit.inclusion import holds, prove

    evidence = remote.call("GET", f"/audit/records/{record}")
    home = remote.home.path
    proof = _with_database(home, lambda c: prove(c, record))
    verdict = holds(proof, _ledger_keys(home, key))
    if remote.as_json:
        evidence["proof"] = {**msgspec.to_builtins(proof), "holds": verdict}
        click.echo(msgspec.json.encode(evidence))
        return
    click.echo(msgspec.json.format(msgspec.json.encode(evidence)).decode())
    last = proof.links[-1].position if proof.links else 0
    click.echo(
        f"proof: {verdict}; leaf {proof.leaf} of batch {proof.batch.id} "
        f"({len(proof.path)} hashes), chain to position {last}"
    )


@audit.command()
@filters
@click.option("--subject-ref", help="Keyed hash of whom the decisions are about.")
@SINCE
@UNTIL
@click.option("--kind", type=click.Choice(["records", "events", "explanations"]),
              default="records", show_default=True)  # fmt: skip
@click.option("--format", "file_format", type=click.Choice(["ndjson", "csv", "parquet"]),
              help="Default: by the suffix of --out, else ndjson.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="File, its proof beside it; else standard output.")  # fmt: skip
@HOME
def export(
    *, home: Path | None, kind: Any, file_format: str | None, out: Path | None,
    since: datetime | None, until: datetime | None, **wanted: Any,
) -> None:  # fmt: skip
    """Take evidence out, with the proof that verifies it anywhere."""
    from serving.audit.export import Selection, write_proof
    from serving.audit.export import export as take
    from serving.audit.formats import SINKS, format_of

    if out is not None and file_format is not None and format_of(out) != file_format:
        raise click.UsageError(f"--out {out} does not have the suffix of {file_format}")
    name = file_format or (format_of(out) if out else "ndjson")
    equal = {column: value for column, value in wanted.items() if value is not None}
    selection = Selection(kind, _utc(since), _utc(until), equal)
    with out.open("wb") if out else sys.stdout.buffer as file:
        sink = SINKS[name](kind, file)
        proof = _with_database(home, lambda c: take(c, selection, sink, _progress("rows")))
    click.echo("", err=True)
    if out is not None:
        click.echo(f"{out}\n{write_proof(proof, out)}", err=True)


@audit.command()
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day of rows to recompute.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last such day.")
@KEY
@HOME
@JSON
def verify(
    *, file: Path | None, since: datetime | None, until: datetime | None, key: str | None,
    home: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Prove that nothing was changed: in the database, or in an exported FILE without it."""
    keys = _ledger_keys(home, key)
    if file is not None:
        from serving.audit.export import verify_export

        report = verify_export(file, keys, _progress("rows"))
    else:
        from serving.audit.online import verify_online

        report = _with_database(
            home,
            lambda c: verify_online(
                c, keys, since=_day(since), until=_day(until), progress=_progress("rows")
            ),
        )
    _show_report(report, signed=bool(keys), as_json=as_json)
    if not report.intact:
        sys.exit(FAILED)


@audit.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the certificate, signed with the home's ledger key.")  # fmt: skip
@HOME
@JSON
def certificate(
    *, since: datetime | None, until: datetime | None, out: Path | None, home: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Account for every sequence number that a writer gave out."""
    from serving.audit.certificate import certify

    found = _with_database(home, lambda c: certify(c, since=_day(since), until=_day(until)))
    if out is not None:
        _sign_certificate(found, out, home)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _show_certificate(found)
    if not found.complete:
        sys.exit(FAILED)


@audit.command()
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=0.0,
              help="Seconds to wait until nothing is left.")  # fmt: skip
@HOME
@JSON
def spool(wait_s: float, home: Path | None, as_json: bool) -> None:
    """Is everything this node recorded in the database? Status 0 only if it is."""
    from serving.audit.coverage import Coverage, coverage, wait_drained
    from serving.audit.status import read_status

    env = read_environment(home=home, role="auditor")

    async def look(connection: asyncpg.Connection) -> Coverage:
        return await wait_drained(lambda: coverage(connection, env.spool, env.node), wait_s)

    found = _with_database(home, look)
    shipper = read_status(env.spool / env.node)
    if as_json:
        click.echo(msgspec.json.encode({"spool": found, "shipper": shipper}))
    else:
        click.echo(
            f"node {env.node}: {found.segments} segments, {found.frames} records not in the "
            f"database, {found.writing} being written"
        )
        if shipper is not None:
            left = f"{shipper.hours_left:.1f} h" if shipper.hours_left is not None else "unlimited"
            click.echo(
                f"shipper: {shipper.shipped} shipped, {shipper.quarantined} quarantined, "
                f"exposure {shipper.exposure_ms} ms, room for {left}"
            )
            for alarm in shipper.alarms:
                click.echo(f"alarm: {alarm}")
    if not found.drained:
        sys.exit(FAILED)


def _sign_certificate(found: Certificate, out: Path, home: Path | None) -> None:
    from compiler.signing import KeyPair, sign
    from serving.audit.chain import CERTIFICATE_TYPE

    key = KeyPair.load(read_environment(home=home).ledger_key)
    out.write_bytes(sign(CERTIFICATE_TYPE, msgspec.json.encode(found), key))
    click.echo(f"{out} signed by {key.id}", err=True)


def _show_certificate(found: Certificate) -> None:
    silent = sum(line.last_seq == 0 for line in found.writers)
    for line in found.writers:
        if line.last_seq == 0 and line.complete:
            continue
        verdict = "complete" if line.complete else f"INCOMPLETE, missing {list(line.missing)}"
        click.echo(
            f"writer {line.writer}: last {line.last_seq} = {line.records} records + {line.events} "
            f"events + {line.quarantined} quarantined + {line.dropped} dropped; {line.rows} rows; "
            f"{verdict}"
        )
    for day in found.days:
        verdict = "complete" if day.complete else "INCOMPLETE"
        gone = f", {day.disposed} disposed of" if day.disposed else ""
        click.echo(
            f"day {day.day} {day.retention_class}: {day.leaves} recorded in {day.batches} batches, "
            f"{day.rows} rows{gone}; {verdict}"
        )
    total = sum(line.records for line in found.writers)
    click.echo(
        f"{'complete' if found.complete else 'INCOMPLETE'}: {total} records of "
        f"{len(found.writers) - silent} writers ({silent} more recorded nothing); "
        f"chain position {found.position}, head {found.head[:16]}"
    )


def _show_report(report: Report, *, signed: bool, as_json: bool) -> None:
    click.echo("", err=True)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    for finding in report.findings[:FINDINGS_SHOWN]:
        click.echo(f"{finding.what}: {finding.at}: {finding.detail}")
    if len(report.findings) > FINDINGS_SHOWN:
        click.echo(f"... and {len(report.findings) - FINDINGS_SHOWN} more")
    checkpoint = f"signed to position {report.signed}" if signed else "signatures not checked"
    click.echo(
        f"{'intact' if report.intact else 'NOT INTACT'}: {report.rows} rows in {report.batches} "
        f"batches, {report.links} links, {checkpoint}, {report.pending} batches not chained yet"
        + (f", {report.disposed} batches disposed of" if report.disposed else "")
    )


def _with_database(
    home: Path | None, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]
) -> T:
    """Run read-only work as the auditor."""
    from serving.audit.link import connect_once

    env = read_environment(home=home, role="auditor")
    return asyncio.run(connect_once(env.need_database(), "interlock audit", work))


def _ledger_keys(home: Path | None, key: str | None) -> dict[str, bytes]:
    """Trusted public keys of the ledger by key id; empty when nothing is configured."""
    from compiler.signing import key_id
    from interlock.commands.trustroot import NoTrustError, find_trust, read_root

    if key is not None:
        public = read_root(key)
        return {key_id(public): public}
    from compiler.signing import unb64

    try:
        trust = find_trust(Path.cwd(), home=read_environment(home=home).home.path)
    except NoTrustError:
        return {}
    return {each.id: unb64(each.public) for each in trust.roster.keys if "ledger" in each.roles}


def _progress(what: str) -> Callable[[int], None] | None:
    """A counter on standard error, on terminals only."""
    if not sys.stderr.isatty():
        return None
    return lambda done: click.echo(f"\r{done} {what}", nl=False, err=True)


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None else None


def _day(at: datetime | None) -> date | None:
    return at.date() if at is not None else None
