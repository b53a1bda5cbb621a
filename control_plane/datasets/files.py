"""The files of snapshots in the artifact store: written whole, named by digest, verified when read.

<store>/datasets/<hex>/{snapshot.json, profile.json, data.parquet}
<store>/datasets/incoming/...     uploads and half-written snapshots

With an object store the folder is a bounded local cache, uploads wait in it for a job of the same
machine, and ``snapshot.json`` is written last: a snapshot without it is not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from control_plane.datasets.errors import DataError
from control_plane.datasets.ingest import DATA, MANIFEST
from control_plane.datasets.schemas import SnapshotManifest
from control_plane.errors import SetupError
from serving.blobs import BlobStore
from serving.store import StoreError

CACHE = "~/.cache/interlock/datasets"
CACHE_BYTES = 8 << 30
IN_USE_S = 3600.0
ABANDONED_S = 86_400.0
"""A half-written snapshot that nobody touched for so long belongs to nobody."""


class SnapshotFiles:
    """Snapshots in a folder that every process of the control plane can reach, or in S3.

    Args:
        artifact_store: folder or ``s3://bucket/prefix``.
        cache: S3 only: local folder; default ``~/.cache/interlock/datasets``.
        cache_bytes: S3 only: least recently used snapshots beyond this are removed.
        in_use_s: S3 only: a snapshot opened within this time is kept, a job may be reading it.

    Raises:
        SetupError: another kind of URL.
    """

    def __init__(
        self,
        artifact_store: str,
        *,
        cache: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        in_use_s: float = IN_USE_S,
    ) -> None:
        self._blobs: BlobStore | None = None
        self._cache_bytes = cache_bytes
        self._in_use_s = in_use_s
        if artifact_store.startswith("s3://"):
            self._blobs = BlobStore.open(artifact_store)
            # two stores on one machine do not share a cache
            mark = hashlib.sha256(artifact_store.encode()).hexdigest()[:16]
            self._root = (cache or Path(CACHE).expanduser()) / mark
        elif "://" in artifact_store:
            raise SetupError(
                f"expected a folder or s3:// URL for datasets, got {artifact_store!r}",
                code="datasets.store",
                hint="set INTERLOCK_ARTIFACT_STORE to a folder or s3://bucket/prefix",
            )
        else:
            self._root = Path(artifact_store) / "datasets"

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A new folder on the same file system, removed afterwards if it is still there.

        Those that killed processes left long ago are removed first.
        """
        parent = self._root / "incoming"
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob("tmp*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED_S:  # files carry wall time
                    shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep_upload(self, folder: Path) -> str:
        """Keep an incoming folder for a job; answers the word that finds it."""
        kept = folder.with_name("job-" + folder.name)
        folder.rename(kept)
        return kept.name

    def upload(self, word: str) -> Path:
        """The folder kept under a word.

        Raises:
            DataError: it is gone.
        """
        folder = self._root / "incoming" / Path(word).name
        if not folder.is_dir():
            raise DataError("the uploaded file is gone", code="data.upload", hint="upload it again")
        return folder

    def publish(self, folder: Path, digest: str) -> Path:
        """Give a finished snapshot its name; a copy that is there already wins."""
        for file in folder.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if self._blobs is not None:
            files = [file for file in folder.iterdir() if file.name != MANIFEST]
            for file in (*files, folder / MANIFEST):
                self._blobs.put(_name(digest, file.name), file)
        place = self._place(digest)
        try:
            folder.rename(place)
        except OSError:
            if not (place / MANIFEST).is_file():
                raise
        self._trim(place)
        return place

    def open(self, digest: str) -> tuple[SnapshotManifest, Path]:
        """A snapshot's document and its verified rows.

        Raises:
            DataError: it is not in the store, or its bytes are not the ones that were stored.
        """
        place = self._place(digest)
        if self._blobs is None:
            return _verified(place, digest)
        try:
            found = _verified(place, digest)
        except (DataError, OSError):
            shutil.rmtree(place, ignore_errors=True)  # the cache is only a copy
            self._fetch(self._blobs, digest, place)
            found = _verified(place, digest)
        self._trim(place)
        return found

    def _fetch(self, blobs: BlobStore, digest: str, place: Path) -> None:
        with self.incoming() as folder:
            try:
                for name in (MANIFEST, DATA):
                    blobs.fetch(_name(digest, name), folder)
            except StoreError as error:
                if error.code != "store.missing":
                    raise
                raise _lost(digest) from error
            _verified(folder, digest)
            try:
                folder.rename(place)
            except OSError:  # another process fetched it meanwhile
                if not (place / MANIFEST).is_file():
                    raise

    def _trim(self, used: Path) -> None:
        """Remove what was not used for longest, until the cache is within its bound."""
        if self._blobs is None:
            return
        os.utime(used)
        kept = 0
        for stamp, size, place in sorted(_cached(self._root), reverse=True):
            kept += size
            idle = time.time() - stamp  # files carry wall time
            if kept > self._cache_bytes and place != used and idle >= self._in_use_s:
                shutil.rmtree(place, ignore_errors=True)
                kept -= size

    def _place(self, digest: str) -> Path:
        return self._root / digest.removeprefix("sha256:")


def _name(digest: str, file: str) -> str:
    return f"datasets/{digest.removeprefix('sha256:')}/{file}"


def _lost(digest: str) -> DataError:
    return DataError(f"snapshot {digest} is not in the store", code="data.lost")


def _cached(root: Path) -> Iterator[tuple[float, int, Path]]:
    for manifest in root.glob(f"*/{MANIFEST}"):
        place = manifest.parent
        try:
            size = sum(file.stat().st_size for file in place.iterdir())
            yield place.stat().st_mtime, size, place
        except OSError:
            continue  # removed by another process


def _verified(place: Path, digest: str) -> tuple[SnapshotManifest, Path]:
    try:
        document = (place / MANIFEST).read_bytes()
    except OSError:
        raise _lost(digest) from None
    if "sha256:" + hashlib.sha256(document).hexdigest() != digest:
        raise DataError(f"the document of snapshot {digest} was changed", code="data.tampered")
    manifest = msgspec.json.decode(document, type=SnapshotManifest)
    data = place / DATA
    with data.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != manifest.data.sha256:
        raise DataError(f"the rows of snapshot {digest} were changed", code="data.tampered")
    return manifest, data
