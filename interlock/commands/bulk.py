"""``interlock bulk``: the routes and models of an endpoint over files, resumable, with evidence."""

from __future__ import annotations

import getpass
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
import msgspec

from compiler.errors import AppError
from interlock.apart import in_own_session
from interlock.commands.bulk_show import Screen, show_status
from interlock.commands.roles import home_option
from interlock.settings import read_environment, router_settings
from serving.priority import take_leftovers

if TYPE_CHECKING:
    from router.bulk.places import Output
    from router.bulk.session import Request, Session
    from router.settings import RouterSettings

FAILED = 1
INTERRUPTED = 130
JSON = click.option("--json", "as_json", is_flag=True, help="Machine output.")
OUT = click.argument("out", metavar="OUT")


class BulkGroup(click.Group):
    """Refusals end with their message and status 1, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AppError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(FAILED)


EXAMPLES = """\b
interlock bulk run loans/ --endpoint credit --out scored/ --keys case
interlock bulk run s3://bank/loans --endpoint credit --out s3://bank/scored --shard 1/4
interlock bulk run loans/ --endpoint credit --out scored/ --keys case --resume
interlock bulk status scored/
interlock bulk verify scored/
"""


@click.group(cls=BulkGroup, epilog=EXAMPLES)
def bulk() -> None:
    """Score files by an endpoint's active release, resumably, with evidence."""


class Share(click.ParamType):
    """``i/n`` with i from 1."""

    name = "i/n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Number of the share from 0, and how many there are."""
        if isinstance(value, tuple):
            return value
        first, _, last = str(value).partition("/")
        if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
            self.fail(f"expected i/n with 1 <= i <= n, got {value!r}", param, ctx)
        return int(first) - 1, int(last)


@bulk.command()
@click.argument("source", metavar="IN")
@click.option("--endpoint", required=True, help="Whose active release answers.")
@click.option("--out", required=True, help="Folder or s3://bucket/prefix of the parts.")
@click.option("--resume", is_flag=True, help="Go on with the job that is there.")
@click.option("--shard", type=Share(), default="1/1", help="Do the i-th of n shares.")
@click.option("--strict", is_flag=True, help="Stop at the first row with an error.")
@click.option("--max-bad", type=click.IntRange(0), help="Stop above this many rows with errors.")
@click.option("--format", "file_format",
              type=click.Choice(["parquet", "arrow", "arrows", "ndjson", "csv"]),
              help="Of the parts; that of the first input otherwise.")  # fmt: skip
@click.option("--keys", default="", help="Columns carried through, comma-separated.")
@click.option("--unit-rows", type=click.IntRange(1), help="Rows of a part.  [default: 65536]")
@click.option("--batch-rows", type=click.IntRange(1), help="Rows scored at once; else tried.")
@click.option("--workers", type=click.IntRange(1, 64),
              help="Scoring threads; else one where a router serves, or one per core.")  # fmt: skip
@click.option("--job", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Manifest of another run whose job line is taken, for equal bytes.")  # fmt: skip
@home_option
@JSON
def run(
    *, source: str, strict: bool, file_format: Any, keys: str,
    home: Path | None, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Answer every row of IN, in order, and leave the evidence.

    IN is a file, a folder, a quoted glob or s3://bucket/prefix of Parquet, Arrow, NDJSON or CSV.
    Columns _id, _subject and _context.NAME are reserved, as in a stream. Everything that could
    not be answered says why in the column `error`.
    """
    from router.bulk.beside import serves

    settings = _settings(home)
    beside = serves(settings)
    if beside:  # before anything large is imported: that alone is a second of work
        in_own_session()
        take_leftovers()
    from router.bulk.session import Request, Session

    if strict:
        given["max_bad"] = 0
    request = Request(
        source,
        format=file_format,
        keys=tuple(name.strip() for name in keys.split(",") if name.strip()),
        actor=f"{getpass.getuser()}@{settings.node}",
        **given,
    )
    session = Session(request, settings, beside=beside)
    _announce(session, request, as_json=as_json)
    sys.exit(_do(session, request, home, as_json=as_json))


def _do(session: Session, request: Request, home: Path | None, *, as_json: bool) -> int:
    """Run the job; exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    screen = Screen(session.inputs.names, as_json=as_json)
    with session.opened(screen.progress) as work:
        try:
            complete = work.run()
        except BaseException as error:
            screen.end(work, complete=False)
            if isinstance(error, KeyboardInterrupt):
                click.echo(f"interrupted; go on with:\n  {_again(request, home)}", err=True)
                return INTERRUPTED
            if work.progress.units or work.progress.skipped:
                click.echo(f"stopped; go on with:\n  {_again(request, home)}", err=True)
            raise
    screen.end(work, complete=complete)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - shape of a handler
    raise KeyboardInterrupt


def _again(request: Request, home: Path | None) -> str:
    """The line that goes on with a job."""
    words = ["interlock", "bulk", "run", request.source, "--endpoint", request.endpoint]
    words += ["--out", request.out, "--resume"]
    shard, shards = request.shard
    for name, value in (
        ("--shard", f"{shard + 1}/{shards}" if shards > 1 else None),
        ("--format", request.format),
        ("--keys", ",".join(request.keys) or None),
        ("--max-bad", request.max_bad),
        ("--workers", request.workers),
        ("--home", home),
    ):
        if value is not None:
            words += [name, str(value)]
    return shlex.join(words)


def _announce(session: Session, request: Request, *, as_json: bool) -> None:
    """Say which release answers before anything is done."""
    endpoint = session.endpoint
    models = ", ".join(f"{ref.name} {ref.version}" for ref in endpoint.content.models)
    if not as_json:
        click.echo(
            f"{endpoint.name} release {endpoint.number} ({endpoint.digest[:19]}) from "
            f"{session.release_from}: {models or 'no models'}\n"
            f"{len(session.inputs.names)} input files -> {request.out}, {session.workers} threads",
            err=True,
        )


@bulk.command()
@OUT
@JSON
def status(*, out: str, as_json: bool) -> None:
    """Say how far the job in OUT is, all its shards together."""
    from router.bulk import verify as look

    show_status(look.status(_output(out)), as_json=as_json)


@bulk.command()
@OUT
@click.option("--input", "source", help="Where the input is now; else where it was.")
@click.option("--sample", type=click.IntRange(0), default=3, show_default=True,
              help="Units that are scored again.")  # fmt: skip
@home_option
@JSON
def verify(*, out: str, source: str | None, sample: int, home: Path | None, as_json: bool) -> None:
    """Check every part of OUT by digest, and score a sample again, bit for bit."""
    from router.bulk import verify as look
    from router.bulk.session import again

    output = _output(out)
    wrong = look.check_parts(output)
    if sample and not wrong:
        wrong = again(output, _settings(home), source, sample)
    found = look.status(output)
    if as_json:
        click.echo(msgspec.json.encode({"job": found.job, "parts": found.parts, "wrong": wrong}))
    else:
        for line in wrong:
            click.echo(f"wrong: {line}")
        if not wrong:
            scored = f", {min(sample, found.parts)} of them scored again" if sample else ""
            click.echo(f"{found.parts} parts, {found.rows} rows: as they were written{scored}")
    sys.exit(FAILED if wrong else 0)


def _settings(home: Path | None) -> RouterSettings:
    return router_settings(read_environment(home=home, role="router"))


def _output(out: str) -> Output:
    import tempfile

    from router.bulk.errors import BulkError
    from router.bulk.places import open_output

    if "://" not in out and not Path(out).expanduser().is_dir():
        raise BulkError("expected the folder of a job", code="bulk.nothing", at=out)
    return open_output(out, cache=Path(tempfile.gettempdir()))
