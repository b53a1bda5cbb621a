"""``interlock models``: look into packages, prove them, score with them; push and terminate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import msgspec

from compiler.errors import AppError
from interlock.commands.judge import STANDING, version_path
from interlock.commands.trustroot import NoTrustError, find_trust
from interlock.present import show_facts
from interlock.remote import Remote, remote_command

if TYPE_CHECKING:
    from compiler.package import Package
    from serving.engine import LoadedModel

PACKAGE = click.argument("package", type=click.Path(exists=True, path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Machine output.")


@click.group()
def models() -> None:
    """Inspect, verify and score model packages."""


@models.command()
@PACKAGE
@JSON
def inspect(package: Path, as_json: bool) -> None:
    """Show what a package says about itself; digests are checked, signatures are not."""
    from compiler.package import read_package

    found = read_package(_folder(package))
    if as_json:
        document = {"digest": found.digest, "manifest": msgspec.to_builtins(found.manifest)}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
        return
    for line in _summary(found):
        click.echo(line)


def _summary(package: Package) -> list[str]:
    manifest = package.manifest
    output = manifest.output
    used = manifest.encoding.features()
    protected = [name for name, feature in manifest.features.items() if feature.protected]
    parity = manifest.parity
    lines = [
        f"{manifest.name} version {manifest.version}",
        f"  package       {package.digest}",
        f"  task          {output.task}"
        + (f" ({', '.join(output.classes)})" * bool(output.classes)),
        f"  estimator     {_recipe(manifest.recipe)}",
        f"  trained on    {_lineage(manifest.lineage)}",
        f"  features      {len(used)} read, {len(manifest.features)} declared",
        f"  left out      {', '.join(protected) or 'none'} (protected)",
        (
            f"  row           {manifest.encoding.width} float32 slots, runs of at least "
            f"{manifest.min_rows} row{'s' * (manifest.min_rows != 1)}"
        ),
        f"  contributors  {', '.join(manifest.contributors) or 'none named'}",
    ]
    if parity:
        rows = sum(parity["rows"].values())
        worst = max(parity["largest_difference"].values())
        lines.append(
            f"  parity        {rows} rows, largest difference {worst:.2g}, "
            f"{max(parity['label_flips'].values())} other labels"
        )
    lines.append(f"  explained     {_explained(package)}")
    lines.append(f"  signed        {_signed(package.folder)}")
    lines += [f"  metric        {name} = {value}" for name, value in manifest.metrics.items()]
    lines += [
        f"  file          {name} {entry.bytes} bytes, sha256 {entry.sha256[:16]}..."
        for name, entry in manifest.files.items()
    ]
    return lines


def _recipe(recipe: dict[str, Any]) -> str:
    params = (f"{key}={value}" for key, value in recipe.get("params", {}).items())
    seed = (f"seed={recipe['seed']}",) if "seed" in recipe else ()
    return " ".join((recipe.get("estimator", "foreign"), *params, *seed))


def _lineage(lineage: dict[str, Any]) -> str:
    words = [str(lineage.get("dataset") or lineage.get("file") or "nothing that is named")]
    if "training_rows" in lineage:
        words.append(f"{lineage['training_rows']} rows")
    libraries = lineage.get("libraries", {})
    words += [f"{name} {libraries[name]}" for name in ("scikit-learn",) if name in libraries]
    return ", ".join(words)


def _explained(package: Package) -> str:
    import io

    import numpy as np

    file = package.files.get("explain.npz")
    if file is None:
        return "not at all: the package carries no explain.npz"
    with np.load(io.BytesIO(file), allow_pickle=False) as arrays:
        method, references = str(arrays["method"]), len(arrays["references"])
    how = "by asking the graph" if method == "permutation" else "exactly"
    return f"{how} ({method}), against {references} reference rows"


def _signed(folder: Path) -> str:
    """Key ids of the builder's signature as they stand there."""
    try:
        envelope = msgspec.json.decode((folder / "signatures" / "builder.dsse.json").read_bytes())
        keys = ", ".join(each["keyid"] for each in envelope["signatures"])
    except (OSError, KeyError, TypeError, msgspec.MsgspecError):
        return "no"
    return f"by {keys} (not checked here: interlock models verify)"


@models.command()
@PACKAGE
@click.option("--home", type=click.Path(path_type=Path), help="Home whose root key is trusted.")
@click.option("--root", help="Root public key: base64 or a file.")
@click.option("--roster", type=click.Path(exists=True, path_type=Path), help="Roster envelope.")
@JSON
def verify(
    package: Path, home: Path | None, root: str | None, roster: Path | None, as_json: bool
) -> None:
    """Prove digests, signature and golden rows; exit 1 and name what does not check out."""
    from compiler.package import verify_package
    from serving.engine import LoadedModel

    folder = _folder(package)
    report: dict[str, Any] = {"package": str(folder), "ok": False}
    try:
        trust = find_trust(folder, home=home, root=root, roster=roster)
        found, builder = verify_package(folder, trust, expected_digest=_named(folder))
        model = LoadedModel(found, builder)
    except NoTrustError:
        raise
    except AppError as error:
        if not as_json:
            raise
        problem = error.problem()
        report["error"] = {"code": problem.code, "message": problem.message, "at": problem.at}
        click.echo(msgspec.json.encode(report).decode())
        sys.exit(1)
    report |= {"ok": True, "digest": found.digest, "builder": builder, "golden": model.replay}
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
        return
    files = len(found.files)
    click.echo(f"{found.manifest.name} version {found.manifest.version}: verified")
    click.echo(f"  digests    {files} files, {sum(map(len, found.files.values()))} bytes")
    click.echo(f"  signature  {builder} (builder), roster version {trust.version}")
    click.echo(f"  golden     {model.replay}")
    click.echo(f"  cost       {model.cost_us:.1f} us a row")


def _named(folder: Path) -> str | None:
    """The digest that the folder's name promises, when it is one."""
    name = folder.name
    is_hex = len(name) == 64 and all(letter in "0123456789abcdef" for letter in name)
    return f"sha256:{name}" if is_hex else None


@models.command()
@PACKAGE
@click.option(
    "--input",
    "rows",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="CSV, NDJSON or Parquet file; - is NDJSON on standard input.",
)
def score(package: Path, rows: Path) -> None:
    """Score a file of rows offline; one JSON line per row."""
    from compiler.package import read_package
    from serving.bulk import BulkPlan, BulkRoute, predict_batches
    from serving.engine import LoadedModel
    from serving.tabular import read_batches

    folder = _folder(package)
    model: LoadedModel = LoadedModel(
        read_package(folder, expected_digest=_named(folder)), builder=None
    )
    path = Path("/dev/stdin") if str(rows) == "-" else rows
    read = {name: model.features[name] for name in model.encoding.features()}
    plan = BulkPlan(read, (BulkRoute("score", model),))
    encode = msgspec.json.Encoder().encode
    failed = 0
    out = sys.stdout.buffer
    with _Meter() as meter:
        for batch in predict_batches(read_batches(path, read), plan):
            for row in batch.select(["row", "id", "outputs", "error"]).to_pylist():
                answer: dict[str, Any] = {"row": row["row"]}
                if row["id"] is not None:
                    answer["id"] = row["id"]
                if row["error"] is not None:
                    failed += 1
                    answer["error"] = row["error"]
                else:
                    answer["outputs"] = msgspec.Raw(row["outputs"].encode())
                out.write(encode(answer) + b"\n")
            meter.advance(batch.num_rows)
    out.flush()
    if failed:
        click.echo(f"{failed} rows could not be scored", err=True)
        sys.exit(1)


@models.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--schema",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON: {"task", "classes", "features": {name: {"type", ...}}}.',
)
@click.option(
    "--samples",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV, NDJSON or Parquet rows that the model is checked on.",
)
@click.option("--name", required=True, help="Model name.")
@click.option("--version", default=1, show_default=True, help="Model version.")
@click.option("--contributor", "contributors", multiple=True, help="E-mail; may be repeated.")
@click.option("--out", default=".", type=click.Path(file_okay=False, path_type=Path))
def import_command(
    *,
    file: Path,
    schema: Path,
    samples: Path,
    name: str,
    version: int,
    contributors: tuple[str, ...],
    out: Path,
) -> None:
    """Make a package of a foreign ONNX FILE, checked on sample rows; it is not signed yet."""
    from compiler.models.foreign import ForeignSchema, import_model
    from compiler.schema import OutputSchema
    from serving.tabular import read_columns

    try:
        declared = msgspec.json.decode(schema.read_bytes(), type=ForeignSchema)
    except msgspec.MsgspecError as error:
        raise AppError(f"not a schema: {error}", code="schema.invalid", at=str(schema)) from error
    columns, rows = read_columns(samples, declared.features)
    digest, folder = import_model(
        file.read_bytes(),
        columns,
        rows,
        features=declared.features,
        output=OutputSchema(declared.task, declared.classes),
        name=name,
        version=version,
        contributors=contributors,
        out_dir=out,
        lineage={"file": file.name},
    )
    click.echo(f"{name} version {version}: checked on {rows} rows")
    click.echo(f"  package  {digest}")
    click.echo(f"  folder   {folder}")


@models.command()
@PACKAGE
@click.option("--store", help="Only put it there: a folder or s3://bucket/prefix.")
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Builder's key: sign the package first.",
)
@remote_command
def push(*, remote: Remote, package: Path, store: str | None, key: Path | None) -> None:
    """Register a package with the control plane, signed with a builder's key when one is given."""
    from compiler.package import read_package, sign_package
    from compiler.signing import KeyPair
    from serving.store import ArtifactStore

    folder = _folder(package)
    found = read_package(folder, expected_digest=_named(folder))
    facts: dict[str, Any] = {"model": found.manifest.name, "version": found.manifest.version}
    if key is not None:
        pair = KeyPair.load(key)
        sign_package(folder, pair)
        facts["signed"] = pair.id
    if store is not None:
        facts |= {"package": ArtifactStore.open(store).publish(folder), "store": store}
    else:
        headers = {"Content-Type": "application/x-tar"}
        facts |= remote.call("POST", "/models", _archive(found), headers=headers)
    show_facts(facts, as_json=remote.as_json)


def _archive(package: Package) -> bytes:
    """The package folder as a tar archive: manifest, listed files, signatures."""
    import io
    import tarfile

    buffer = io.BytesIO()
    signatures = sorted((package.folder / "signatures").glob("*.dsse.json"))
    with tarfile.open(fileobj=buffer, mode="w:") as tar:
        for path in (package.folder / "manifest.json", *signatures):
            tar.add(path, arcname=str(path.relative_to(package.folder)))
        for name in package.manifest.files:
            tar.add(package.folder / name, arcname=name)
    return buffer.getvalue()


@models.command()
@click.argument("target", metavar="MODEL@VERSION")
@click.option("--reason", required=True, help="Why; kept in the administrative log.")
@click.confirmation_option(
    prompt="Every endpoint that serves this version falls to its safe answer. Go on?"
)
@remote_command
def terminate(*, remote: Remote, target: str, reason: str) -> None:
    """Kill switch: take a version out of service on every node, for good."""
    answer = remote.call("POST", version_path(target) + "/terminate", {"reason": reason})
    show_facts(answer, STANDING, as_json=remote.as_json)


class _Meter:
    """Rows done, on a terminal's standard error; silent elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} rows"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("rows", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def advance(self, rows: int) -> None:
        self._progress.advance(self._task, rows)


def _folder(package: Path) -> Path:
    """The package folder: also accepts its manifest."""
    return package.parent if package.name == "manifest.json" else package
