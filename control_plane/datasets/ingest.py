"""A file to a snapshot: types from all rows, numbers rounded once, profile and findings beside it.

The file is read twice as a stream of blocks, so memory does not grow with its size. Nothing is
visible before everything is written: the folder gets its name, the digest, last.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from compiler.schema import FeatureMap, OutputSchema
from control_plane.datasets import quality, reading
from control_plane.datasets.errors import DataError, DeclarationError
from control_plane.datasets.infer import ColumnScan
from control_plane.datasets.profile import ProfiledWriter
from control_plane.datasets.schemas import (
    DataFile,
    Declaration,
    Ingested,
    SnapshotManifest,
)

DATA = "data.parquet"
MANIFEST = "snapshot.json"
PROFILE = "profile.json"
MIN_ROWS = 20
MAX_CLASSES = 100

_UNFIT = re.compile(r"[^A-Za-z0-9_]+")
_canonical = msgspec.json.Encoder(order="sorted")


def ingest(
    path: Path,
    kind: str,
    declaration: Declaration,
    folder: Path,
    progress: Callable[[float, str], None] = lambda _fraction, _step: None,
) -> Ingested:
    """Read a file into the files of a snapshot.

    Args:
        path: the uploaded file.
        kind: ``csv`` or ``parquet``.
        declaration: what people said about it.
        folder: existing empty folder that receives ``data.parquet``, ``snapshot.json`` and
            ``profile.json``.
        progress: told (share of the work, step).

    Raises:
        DataError: it is not a table that can be used; says where.
        DeclarationError: a declared column is not there, or the target cannot be learnt.
    """
    names = reading.columns_of(path, kind)
    fitting = rename(names)
    _check_columns(declaration, names)
    scans = [ColumnScan(fitting[name]) for name in names]
    for block in reading.blocks(
        path, kind, names, declaration.missing, lambda part: progress(part * 0.5, "reading types")
    ):
        for scan, column in zip(scans, block.columns, strict=True):
            scan.see(column)
    rows = scans[0].rows
    if rows < MIN_ROWS:
        raise DataError(f"expected at least {MIN_ROWS} rows, got {rows}", code="data.rows")
    by_name = dict(zip(names, scans, strict=True))
    findings = [
        finding
        for name, scan in by_name.items()
        for finding in quality.column_findings(scan, target=name == declaration.target)
    ]
    output = _output(declaration, by_name.get(declaration.target or ""))
    features, excluded = _features(declaration, by_name)
    target = fitting[declaration.target] if declaration.target else None
    writer = ProfiledWriter(
        folder / DATA,
        scans=scans,
        features=features,
        excluded=excluded,
        target=target,
        output=output,
        source_names={fitting[name]: name for name in names if fitting[name] != name},
    )
    with writer:
        for block in reading.blocks(
            path,
            kind,
            names,
            declaration.missing,
            lambda part: progress(0.5 + part * 0.4, "writing the snapshot"),
        ):
            writer.write(block)
    progress(0.92, "looking for leaks")
    findings += writer.leaks(declaration.task)
    manifest = SnapshotManifest(
        declaration.name,
        declaration.task,
        target,
        declaration.positive,
        declaration.favourable,
        rows,
        features,
        excluded,
        output,
        _data_file(folder / DATA),
        declaration.source,
        declaration.licence,
    )
    document = _canonical.encode(manifest)
    (folder / MANIFEST).write_bytes(document)
    profile = writer.profile()
    (folder / PROFILE).write_bytes(_canonical.encode({"columns": profile, "findings": findings}))
    digest = "sha256:" + hashlib.sha256(document).hexdigest()
    progress(0.97, "storing the snapshot")
    return Ingested(digest, manifest, profile, tuple(findings))


def rename(names: list[str]) -> dict[str, str]:
    """Names that rules and requests can use, by source name; each one different.

    >>> rename(["Age (years)", "2nd income", "ok", "Age years"])
    {'Age (years)': 'Age_years', '2nd income': '_2nd_income', 'ok': 'ok', 'Age years': 'Age_years_2'}
    """  # noqa: E501 - the answer on one line
    fitting: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        base = _UNFIT.sub("_", name.strip()).strip("_") or "column"
        if base[0].isdigit():
            base = "_" + base
        new, number = base, 1
        while new in used:
            number += 1
            new = f"{base}_{number}"
        used.add(new)
        fitting[name] = new
    return fitting


def _check_columns(declaration: Declaration, names: list[str]) -> None:
    known = set(names)
    for role in ("protected", "sensitive", "ignore"):
        for name in getattr(declaration, role):
            if name not in known:
                raise DeclarationError(
                    f"expected a column of the data, got {name!r}", code="dataset.column", at=role
                )
    target = declaration.target
    if target is not None and target not in known:
        raise DeclarationError(
            f"the target {target!r} is not a column", code="dataset.target", at="target",
            hint=f"columns: {', '.join(names[:20])}",
        )  # fmt: skip


def _output(declaration: Declaration, scan: ColumnScan | None) -> OutputSchema:
    """What models of this data answer, and whether that can be learnt at all."""
    if scan is None:
        return OutputSchema(declaration.task)
    if not scan.present:
        raise DeclarationError("no row has a target", code="target.empty", at=scan.name)
    if declaration.task == "regression":
        if scan.type() not in ("int", "float"):
            raise DeclarationError(
                f"expected numbers as the target of a regression, got {scan.type()}",
                code="target.type",
                at=scan.name,
            )
        if scan.low == scan.high:
            raise DeclarationError(
                "every row has the same target", code="target.one_value", at=scan.name
            )
        return OutputSchema("regression")
    if scan.overflow or len(scan.values) > MAX_CLASSES:
        raise DeclarationError(
            f"expected at most {MAX_CLASSES} classes, got more",
            code="target.classes",
            at=scan.name,
            hint="is this a regression?",
        )
    classes = tuple(sorted(scan.values))
    if len(classes) < 2:
        raise DeclarationError(
            f"expected at least two classes, every row is {classes[0]!r}",
            code="target.one_class",
            at=scan.name,
        )
    rare = min(scan.values, key=lambda value: scan.values[value])
    if scan.values[rare] < 5:
        raise DeclarationError(
            f"expected at least 5 rows of each class, got {scan.values[rare]} of {rare!r}",
            code="target.rare",
            at=scan.name,
        )
    for field in ("positive", "favourable"):
        word = getattr(declaration, field)
        if word is not None and word not in classes:
            raise DeclarationError(
                f"expected one of {', '.join(classes)} as the {field} class, got {word!r}",
                code=f"target.{field}",
                at=field,
            )
    return OutputSchema("classification", classes)


def _features(
    declaration: Declaration, scans: dict[str, ColumnScan]
) -> tuple[FeatureMap, dict[str, str]]:
    features: FeatureMap = {}
    excluded: dict[str, str] = {}
    for source, scan in scans.items():
        if source == declaration.target:
            continue
        if source in declaration.ignore:
            excluded[scan.name] = "ignored by declaration"
            continue
        features[scan.name] = scan.feature(
            protected=source in declaration.protected, sensitive=source in declaration.sensitive
        )
        if source in declaration.protected:
            continue
        if not scan.present:
            excluded[scan.name] = "no row has a value"
        elif scan.type() == "string":
            excluded[scan.name] = "texts that are not categories"
    if not features.keys() - excluded.keys():
        raise DeclarationError("no column is left to learn from", code="dataset.no_features")
    return features, excluded


def _data_file(path: Path) -> DataFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return DataFile(path.name, digest.hexdigest(), path.stat().st_size)
