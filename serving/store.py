"""Where packages live: ``<store>/packages/<hex>/``, immutable, found by digest."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from compiler.errors import AppError
from compiler.package import folder_name, read_package

PACKAGES = "packages"


class StoreError(AppError):
    """The artifact store does not have it, or cannot be reached."""

    code = "store.unavailable"


class ArtifactStore:
    """A local folder of packages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages = root / PACKAGES

    @classmethod
    def open(cls, url: str | Path) -> ArtifactStore:
        """The store at a path or ``file://`` URL; the folder is made when it is missing.

        Raises:
            StoreError: a kind of URL that is not known, or a folder that cannot be made.
        """
        text = str(url)
        parts = urlsplit(text)
        if parts.scheme not in ("", "file"):
            raise StoreError(f"expected a folder or file:// URL, got {text!r}", code="store.url")
        root = Path(parts.path if parts.scheme else text).expanduser()
        try:
            (root / PACKAGES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {root}: {error.strerror}", at=str(root)) from error
        return cls(root)

    def path(self, digest: str) -> Path:
        """Where a package of this digest is or would be."""
        return self.packages / folder_name(digest)

    def fetch(self, digest: str) -> Path:
        """The folder of a package; its content is verified by whoever loads it.

        Raises:
            StoreError: it is not in the store.
        """
        folder = self.path(digest)
        if not (folder / "manifest.json").is_file():
            raise StoreError(
                f"package {digest} is not in the store",
                code="store.missing",
                at=str(self.packages),
            )
        return folder

    def publish(self, folder: Path) -> str:
        """Copy a package in, after verifying it; returns its digest. A present one is kept.

        Raises:
            PackageError: the package is damaged.
        """
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
