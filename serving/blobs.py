"""Large files beside the packages of an artifact store: archives and columnar parts, by name.

    BlobStore                open(url): a folder, file:// or s3://bucket/prefix
    +-- LocalBlobs           the folder itself
    +-- S3Blobs              serving/blobs_s3.py: in pieces, under a deadline for each piece

A file becomes visible all at once. Names are given by the caller and say what the file is; whoever
reads one checks its digest.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from serving.files import READ_BYTES, sync_folder
from serving.store import StoreError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")
PIECE_DEADLINE_S = 60.0


class BlobStore(ABC):
    """Files by name."""

    @staticmethod
    def open(
        url: str | Path,
        *,
        endpoint_url: str | None = None,
        deadline_s: float = PIECE_DEADLINE_S,
    ) -> BlobStore:
        """The files at a path or URL.

        Args:
            url: of the artifact store: folder, ``file://`` or ``s3://bucket/prefix``.
            endpoint_url: S3 only: another service than Amazon's (also ``AWS_ENDPOINT_URL``).
            deadline_s: S3 only: limit for one piece of a file.

        Raises:
            StoreError: a kind of URL that is not known.
        """
        text = str(url)
        parts = urlsplit(text)
        if parts.scheme == "s3":
            from serving.blobs_s3 import S3Blobs

            return S3Blobs(
                parts.netloc,
                parts.path.strip("/"),
                endpoint_url=endpoint_url,
                deadline_s=deadline_s,
            )
        if parts.scheme not in ("", "file"):
            raise StoreError(
                f"expected a folder, file:// or s3:// URL, got {text!r}", code="store.url"
            )
        return LocalBlobs(Path(parts.path if parts.scheme else text).expanduser())

    @abstractmethod
    def put(self, name: str, file: Path) -> None:
        """Keep a copy of a file; the name must not be in use for another content.

        Raises:
            StoreError: the store cannot take it, or does not answer in time.
        """

    @abstractmethod
    def fetch(self, name: str, folder: Path) -> Path:
        """A local path of the file, downloaded into ``folder`` where it is not local.

        Raises:
            StoreError: it is not in the store, or the store does not answer in time.
        """


class LocalBlobs(BlobStore):
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, file: Path) -> None:
        """Copy, force to the disk, rename into place."""
        target = self.root / checked(name)
        if target.exists():
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=".put-", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as output, file.open("rb") as source:
                    shutil.copyfileobj(source, output, READ_BYTES)
                    output.flush()
                    os.fsync(output.fileno())
                Path(draft).replace(target)
            finally:
                Path(draft).unlink(missing_ok=True)
            sync_folder(target.parent)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror}", at=str(target)) from error

    def fetch(self, name: str, folder: Path) -> Path:
        """The file itself."""
        path = self.root / checked(name)
        if not path.is_file():
            raise missing(name, str(self.root))
        return path


def checked(name: str) -> str:
    """The name, when it stays below the store.

    Raises:
        StoreError: it does not.
    """
    if NAME.fullmatch(name) is None:
        raise StoreError(
            f"expected a relative name of plain words, got {name!r}", code="store.name"
        )
    return name


def missing(name: str, place: str) -> StoreError:
    """The error for a file that is not there."""
    return StoreError(f"{name} is not in the store", code="store.missing", at=place)
