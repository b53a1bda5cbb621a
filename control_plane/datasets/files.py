"""The files of snapshots in the artifact store: written whole, named by digest, verified when read.

<store>/datasets/<hex>/{snapshot.json, profile.json, data.parquet}
<store>/datasets/incoming/...     uploads and half-written snapshots
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from control_plane.datasets.errors import DataError
from control_plane.datasets.ingest import DATA, MANIFEST
from control_plane.datasets.schemas import SnapshotManifest
from control_plane.errors import SetupError


class SnapshotFiles:
    """Snapshots below a folder that every process of the control plane can reach."""

    def __init__(self, artifact_store: str) -> None:
        if "://" in artifact_store:
            raise SetupError(
                f"expected a folder for datasets, got {artifact_store!r}",
                code="datasets.store",
                hint="object stores as the place of snapshots are not served yet",
            )
        self._root = Path(artifact_store) / "datasets"

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A new folder on the same file system, removed afterwards if it is still there."""
        parent = self._root / "incoming"
        parent.mkdir(parents=True, exist_ok=True)
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
        place = self._place(digest)
        try:
            folder.rename(place)
        except OSError:
            if not (place / MANIFEST).is_file():
                raise
        return place

    def open(self, digest: str) -> tuple[SnapshotManifest, Path]:
        """A snapshot's document and its verified rows.

        Raises:
            DataError: it is not in the store, or its bytes are not the ones that were stored.
        """
        place = self._place(digest)
        try:
            document = (place / MANIFEST).read_bytes()
        except OSError:
            raise DataError(f"snapshot {digest} is not in the store", code="data.lost") from None
        if "sha256:" + hashlib.sha256(document).hexdigest() != digest:
            raise DataError(f"the document of snapshot {digest} was changed", code="data.tampered")
        manifest = msgspec.json.decode(document, type=SnapshotManifest)
        data = place / DATA
        with data.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != manifest.data.sha256:
            raise DataError(f"the rows of snapshot {digest} were changed", code="data.tampered")
        return manifest, data

    def _place(self, digest: str) -> Path:
        return self._root / digest.removeprefix("sha256:")
