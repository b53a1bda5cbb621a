"""Columnar parts between the spool and the artifact store: compressed there, checked both ways."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from serving.audit.parts import DRAFT, DRAFT_S, SUFFIX, PartError
from serving.blobs import BlobStore
from serving.files import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

PACKED = ".zst"
CHUNK = 1 << 20
MAX_BYTES = 4 << 30
"""Longest part that is read: a compressed file may claim anything."""


def blob_name(digest: str) -> str:
    """Name of a part in the artifact store; the digest is that of the file before compression."""
    word = digest.removeprefix("sha256:")
    return f"parts/{word[:2]}/{word}{SUFFIX}{PACKED}"


def bring_parts(folder: Path, store: BlobStore, now_s: float) -> list[str]:
    """Move the parts of a node's spool into the artifact store; blocks: call it in a thread.

    Records do not wait for it: they name a part by its digest, whenever it comes. A file that is
    not what its name says is set aside.

    Args:
        folder: the node's spool folder.
        store: artifact store.
        now_s: wall clock; drafts older than ten minutes were left by a killed process.

    Returns:
        Names of files that are damaged.

    Raises:
        StoreError: the store does not take one now; the rest waits, too.
    """
    damaged = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        digest = "sha256:" + path.stem
        if file_digest(path) != digest:
            path.rename(path.with_suffix(".damaged"))
            damaged.append(path.name)
            continue
        packed = folder / f".{path.stem}{DRAFT}"
        try:
            pack(path, packed)
            store.put(blob_name(digest), packed)
        finally:
            packed.unlink(missing_ok=True)
        path.unlink()
    for draft in folder.glob(f".*{DRAFT}"):
        if now_s - draft.stat().st_mtime > DRAFT_S:
            draft.unlink(missing_ok=True)
    return damaged


def waiting_parts(folder: Path) -> int:
    """Parts that the artifact store does not have yet."""
    return sum(1 for _ in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else 0


def pack(path: Path, packed: Path) -> None:
    """Compress a file; equal files give equal bytes."""
    import pyarrow as pa

    with (
        path.open("rb") as plain,
        pa.CompressedOutputStream(pa.OSFile(str(packed), "wb"), "zstd") as out,
    ):
        while chunk := plain.read(CHUNK):
            out.write(chunk)


def read_part(store: BlobStore, digest: str, rows: int, cache: Path) -> pa.Table:
    """A part, checked against what its record says.

    Args:
        store: artifact store.
        digest: ``part`` of the record.
        rows: ``rows`` of the record.
        cache: folder for downloads.

    Raises:
        PartError: other bytes, or another number of rows.
        StoreError: it is not there.
    """
    import pyarrow as pa

    path = store.fetch(blob_name(digest), cache)
    whole = _unpacked(path)
    found = "sha256:" + hashlib.sha256(whole).hexdigest()
    if found != digest:
        raise PartError(f"expected a part {digest}, got {found}", at=str(path))
    with pa.ipc.open_file(pa.py_buffer(whole)) as reader:
        table = reader.read_all()
    if table.num_rows != rows:
        raise PartError(f"expected {rows} rows, got {table.num_rows}", at=str(path))
    return table


def _unpacked(path: Path) -> bytes:
    import pyarrow as pa

    whole = bytearray()
    try:
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as packed:
            while chunk := packed.read(CHUNK):
                whole += chunk
                if len(whole) > MAX_BYTES:
                    raise PartError(f"expected a part of at most {MAX_BYTES} bytes", at=str(path))
    except (OSError, pa.ArrowException) as error:
        raise PartError(f"expected a part that can be read: {error}", at=str(path)) from None
    return bytes(whole)
