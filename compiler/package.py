"""Model packages: a content-addressed folder that is verified before any byte of it is used.

    <hex of the manifest's SHA-256>/
      manifest.json            canonical JSON; its digest is the package's name
      model.onnx               numeric graph: one float32 matrix in, the outputs out
      portable.onnx            the same model over business features, for use elsewhere
      golden.npz               rows with their exact outputs, replayed at load
      explain.npz              trees or coefficients with the reference rows
      observed.json            measured cost and host; unsigned, outside the digest
      signatures/builder.dsse.json

There is no pickle in a package, and arrays are read with ``allow_pickle=False``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from compiler.errors import AppError
from compiler.identity import Trust
from compiler.models.encoding import Encoding, check_encoding
from compiler.schema import FeatureMap, OutputSchema
from compiler.signing import KeyPair, sign
from compiler.statements import PACKAGE, PackageStatement, decode_statement, encode_statement

FORMAT: Literal["interlock/package/v1"] = "interlock/package/v1"
MANIFEST = "manifest.json"
SIGNATURE = "signatures/builder.dsse.json"
OBSERVED = "observed.json"
REQUIRED = ("model.onnx", "golden.npz")
MAX_MANIFEST_BYTES = 16 << 20
MAX_FILE_BYTES = 2 << 30
MAX_PACKAGE_BYTES = 4 << 30
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}\.(onnx|npz|json)\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class PackageError(AppError):
    """A package is damaged, incomplete, or not the one that was asked for."""

    code = "package.invalid"


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Digest and size of one file; checked before the file is used."""

    sha256: str
    bytes: int


class Graph(Struct, frozen=True, forbid_unknown_fields=True):
    """Tensors of ``model.onnx``.

    Attributes:
        input: name of the float32 matrix [rows, width].
        outputs: names in the order of the task: ``(probabilities,)`` or ``(probabilities, label)``
            for classification, ``(value,)``, ``(cluster, distance)``.
        family: how explanations are computed: ``linear``, ``tree``, ``other``.
    """

    input: str
    outputs: tuple[str, ...]
    family: Literal["linear", "tree", "other"]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is known about a model, signed as one document.

    Attributes:
        format: version of this layout.
        name: model name.
        version: model version.
        features: inputs; protected ones are listed and never read.
        order: names of ``features`` in schema order (canonical JSON sorts mappings).
        output: task and labels.
        encoding: how a request becomes a float32 row.
        graph: names of the graph's tensors and how the label is found.
        min_rows: rows the engine pads to where one row alone would differ in its last bit.
        recipe: what was fitted, as data; empty for a foreign model.
        lineage: dataset digest, seed, library versions, times.
        contributors: e-mails of everybody who worked on this version.
        metrics: held-out figures.
        parity: the parity report.
        files: name to digest and size.
    """

    name: str
    version: int
    features: FeatureMap
    output: OutputSchema
    encoding: Encoding
    graph: Graph
    min_rows: int
    recipe: dict[str, Any]
    lineage: dict[str, Any]
    contributors: tuple[str, ...]
    metrics: dict[str, Any]
    parity: dict[str, Any]
    files: dict[str, FileEntry]
    order: tuple[str, ...] = ()
    format: Literal["interlock/package/v1"] = FORMAT


class Package(Struct, frozen=True):
    """A verified package: the manifest and the very bytes that were verified."""

    folder: Path
    digest: str
    manifest: Manifest
    files: dict[str, bytes]


class _Version(Struct):
    format: str = ""


_encoder = msgspec.json.Encoder(order="sorted")


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: sorted keys, no white space. The same manifest gives the same bytes."""
    return _encoder.encode(manifest)


def package_digest(manifest: bytes) -> str:
    """``sha256:<hex>`` of the manifest's bytes: the package's identity."""
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def folder_name(digest: str) -> str:
    """The hex part of a digest, safe as a folder name.

    Raises:
        PackageError: not a ``sha256:<64 hex>`` digest.
    """
    if not _DIGEST.match(digest):
        raise PackageError(f"expected sha256:<64 hex digits>, got {digest[:80]!r}")
    return digest.removeprefix("sha256:")


def write_package(
    manifest: Manifest, files: Mapping[str, bytes], out_dir: Path
) -> tuple[str, Path]:
    """Write a package folder at once, or find the identical one already there.

    Args:
        manifest: everything but ``files``, which is filled in here.
        files: name to content.
        out_dir: parent of the new folder.

    Returns:
        Digest and folder. Nothing is visible under the final name before all bytes are on disk.
    """
    entries = {
        name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()
    }
    manifest = msgspec.structs.replace(manifest, files=entries, order=tuple(manifest.features))
    _check_names(manifest)
    raw = encode_manifest(manifest)
    digest = package_digest(raw)
    folder = out_dir / folder_name(digest)
    if folder.exists():
        read_package(folder, expected_digest=digest)
        return digest, folder
    out_dir.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".package-", dir=out_dir))
    try:
        for name, data in {**files, MANIFEST: raw}.items():
            write_synced(temporary / name, data)
        temporary.chmod(0o755)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return digest, folder


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def sign_package(folder: Path, key: KeyPair) -> bytes:
    """Sign a package as its builder; the envelope is written into the folder and returned."""
    package = read_package(folder)
    manifest = package.manifest
    statement = PackageStatement(package.digest, manifest.name, manifest.version)
    envelope = sign(PACKAGE, encode_statement(statement), key)
    write_synced(folder / SIGNATURE, envelope)
    return envelope


def read_package(
    folder: Path, *, expected_digest: str | None = None, max_bytes: int = MAX_PACKAGE_BYTES
) -> Package:
    """A package whose every listed file was checked, with the bytes that were checked.

    Args:
        folder: the package folder; its own name proves nothing.
        expected_digest: refuse any other package.
        max_bytes: refuse to read more than this in total.

    Raises:
        PackageError: by code: ``package.missing`` (no such file), ``package.identity`` (another
            package than expected), ``package.manifest``, ``package.format`` (unknown version),
            ``package.path`` (a name that leaves the folder or a link), ``package.size``,
            ``package.digest`` (a file was changed).
    """
    raw = _read_regular(folder, MANIFEST, MAX_MANIFEST_BYTES)
    digest = package_digest(raw)
    if expected_digest is not None and digest != expected_digest:
        raise PackageError(
            f"expected package {expected_digest}, got {digest}",
            code="package.identity",
            at=str(folder / MANIFEST),
            hint="the manifest was changed, or another package lies in this folder",
        )
    manifest = parse_manifest(raw, str(folder / MANIFEST))
    total = sum(entry.bytes for entry in manifest.files.values())
    if total > max_bytes or any(entry.bytes < 0 for entry in manifest.files.values()):
        raise PackageError(
            f"expected at most {max_bytes} bytes, the manifest lists {total}",
            code="package.size",
            at=str(folder),
        )
    files = {name: _read_listed(folder, name, entry) for name, entry in manifest.files.items()}
    return Package(folder, digest, manifest, files)


def verify_package(
    folder: Path, trust: Trust, *, expected_digest: str | None = None
) -> tuple[Package, str]:
    """The verified package and the person whose builder key signed it.

    Raises:
        PackageError: damaged, unsigned, or signed as something else.
        SignatureError: signed by nobody who is trusted.
        RoleError: signed by somebody who is not a builder.
    """
    package = read_package(folder, expected_digest=expected_digest)
    return package, verify_signature(package, trust)


def verify_signature(package: Package, trust: Trust) -> str:
    """The person whose builder key signed this package; raises as :func:`verify_package`."""
    try:
        envelope = _read_regular(package.folder, SIGNATURE, 1 << 20)
    except PackageError as error:
        raise PackageError(
            "the package is not signed",
            code="package.unsigned",
            at=str(package.folder / SIGNATURE),
            hint="sign it with a builder's key",
        ) from error
    payload, person = trust.verify(envelope, PACKAGE, "builder")
    statement = decode_statement(payload, PackageStatement)
    manifest = package.manifest
    expected = PackageStatement(package.digest, manifest.name, manifest.version)
    if statement != expected:
        raise PackageError(
            f"the signature is for {statement.name} version {statement.version} "
            f"({statement.package}), not for this package",
            code="package.signature",
            at=str(package.folder / SIGNATURE),
        )
    return person


def parse_manifest(raw: bytes, place: str) -> Manifest:
    """The manifest in these bytes; ``place`` is for errors.

    Raises:
        PackageError: ``package.format``, ``package.manifest`` or ``package.path``.
        EncodingError: the encoding contradicts itself or the features.
    """
    try:
        version = msgspec.json.decode(raw, type=_Version)
        if version.format != FORMAT:
            raise PackageError(
                f"expected format {FORMAT!r}, got {version.format[:80]!r}",
                code="package.format",
                at=place,
                hint="this package was made by another version of the product",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
        if encode_manifest(manifest) != raw:
            raise PackageError(
                "the manifest is not in canonical form", code="package.manifest", at=place
            )
        check_encoding(manifest.encoding, set(manifest.features))
        if sorted(manifest.order) != sorted(manifest.features):
            raise PackageError("features and their order differ", code="package.manifest", at=place)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"not a manifest: {error}", code="package.manifest", at=place) from error
    _check_names(manifest)
    features = {name: manifest.features[name] for name in manifest.order}
    return msgspec.structs.replace(manifest, features=features)


def _check_names(manifest: Manifest) -> None:
    for name in manifest.files:
        if not _FILE_NAME.match(name) or name in (MANIFEST, OBSERVED):
            raise PackageError(
                f"the manifest names a file that is not allowed: {name[:80]!r}",
                code="package.path",
                hint="names are plain words ending in .onnx, .npz or .json",
            )
    for name in REQUIRED:
        if name not in manifest.files:
            raise PackageError(f"the manifest lists no {name}", code="package.manifest")


def _read_listed(folder: Path, name: str, entry: FileEntry) -> bytes:
    if not 0 <= entry.bytes <= MAX_FILE_BYTES:
        raise PackageError(
            f"{name} would have {entry.bytes} bytes", code="package.size", at=str(folder / name)
        )
    data = _read_regular(folder, name, entry.bytes, exact=True)
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise PackageError(
            f"{name} was changed: expected SHA-256 {entry.sha256}, got {found}",
            code="package.digest",
            at=str(folder / name),
            hint="fetch the package again from the store",
        )
    return data


def _read_regular(folder: Path, name: str, limit: int, *, exact: bool = False) -> bytes:
    """Content of a regular file (no link) of at most ``limit`` bytes; never reads beyond it."""
    path = folder / name
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PackageError(
            f"{name} is missing",
            code="package.missing",
            at=str(path),
            hint=f"a package is the folder that holds {MANIFEST}" if name == MANIFEST else "",
        ) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PackageError(
                f"{name} is a link, not a plain file", code="package.path", at=str(path)
            ) from error
        raise PackageError(
            f"{name} cannot be opened as a plain file: {error.strerror}",
            code="package.path",
            at=str(path),
        ) from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise PackageError(f"{name} is not a plain file", code="package.path", at=str(path))
        if status.st_size > limit or (exact and status.st_size != limit):
            raise PackageError(
                f"{name}: expected {'' if exact else 'at most '}{limit} bytes, "
                f"got {status.st_size}",
                code="package.size",
                at=str(path),
            )
        data = file.read(limit + 1)
    if len(data) > limit or (exact and len(data) != limit):
        raise PackageError(f"{name} changed while it was read", code="package.size", at=str(path))
    return data
