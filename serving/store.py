"""Where packages live: ``<store>/packages/<hex>/``, immutable, found by digest.

    ArtifactStore            open(url): a folder, file:// or s3://bucket/prefix
    +-- LocalStore           the folder itself
    +-- S3Store              serving/store_s3.py: any S3, with a bounded local cache

A package becomes visible all at once and never changes, so whoever finds it may cache it.
"""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from compiler.errors import AppError
from compiler.package import folder_name, read_package

PACKAGES = "packages"
CACHE_BYTES = 8 << 30
DEADLINE_S = 60.0


class StoreError(AppError):
    """The artifact store does not have it, or cannot be reached."""

    code = "store.unavailable"


class ArtifactStore(ABC):
    """Packages by digest."""

    @staticmethod
    def open(
        url: str | Path,
        *,
        cache: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        deadline_s: float = DEADLINE_S,
        endpoint_url: str | None = None,
    ) -> ArtifactStore:
        """The store at a path or URL; a folder is made when it is missing.

        Args:
            url: folder, ``file://`` or ``s3://bucket/prefix``.
            cache: S3 only: folder for fetched packages; default ``~/.cache/interlock/packages``.
            cache_bytes: S3 only: least recently used packages beyond this are removed.
            deadline_s: S3 only: hard limit for one fetch or publish.
            endpoint_url: S3 only: another service than Amazon's (also ``AWS_ENDPOINT_URL``).

        Raises:
            StoreError: a kind of URL that is not known, or a folder that cannot be made.
        """
        text = str(url)
        parts = urlsplit(text)
        if parts.scheme == "s3":
            from serving.store_s3 import S3Store

            folder = cache or Path("~/.cache/interlock/packages").expanduser()
            return S3Store(
                parts.netloc,
                parts.path.strip("/"),
                cache=folder,
                cache_bytes=cache_bytes,
                deadline_s=deadline_s,
                endpoint_url=endpoint_url,
            )
        if parts.scheme not in ("", "file"):
            raise StoreError(
                f"expected a folder, file:// or s3:// URL, got {text!r}", code="store.url"
            )
        root = Path(parts.path if parts.scheme else text).expanduser()
        try:
            (root / PACKAGES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {root}: {error.strerror}", at=str(root)) from error
        return LocalStore(root)

    @abstractmethod
    def fetch(self, digest: str) -> Path:
        """The local folder of a package; its content is verified by whoever loads it.

        Raises:
            StoreError: it is not in the store, or the store does not answer in time.
        """

    @abstractmethod
    def publish(self, folder: Path) -> str:
        """Put a package in, after verifying it; returns its digest. A present one is kept.

        Raises:
            PackageError: the package is damaged.
            StoreError: the store cannot take it.
        """


class LocalStore(ArtifactStore):
    """A local folder of packages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages = root / PACKAGES

    def path(self, digest: str) -> Path:
        """Where a package of this digest is or would be."""
        return self.packages / folder_name(digest)

    def fetch(self, digest: str) -> Path:
        """The package's folder in the store itself."""
        folder = self.path(digest)
        if not (folder / "manifest.json").is_file():
            raise StoreError(
                f"package {digest} is not in the store",
                code="store.missing",
                at=str(self.packages),
            )
        return folder

    def publish(self, folder: Path) -> str:
        """Copy, verify the copy, then rename it into place."""
        digest = read_package(folder).digest
        target = self.path(digest)
        if target.resolve() == folder.resolve():
            return digest
        if target.exists():
            self._add_signatures(folder, target)
            return digest
        temporary = Path(tempfile.mkdtemp(prefix=".publish-", dir=self.packages))
        try:
            shutil.copytree(folder, temporary / "package", symlinks=True)
            read_package(temporary / "package", expected_digest=digest)
            (temporary / "package").replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return digest

    def _add_signatures(self, folder: Path, target: Path) -> None:
        for file in (folder / "signatures").glob("*.dsse.json"):
            if not (target / "signatures" / file.name).exists():
                (target / "signatures").mkdir(exist_ok=True)
                shutil.copyfile(file, target / "signatures" / file.name)
