"""Where rows come from and where parts go: folders, globs and S3 behind two small interfaces.

Inputs     open_inputs(text): names in order, a fingerprint and a local file for each
+-- LocalInputs          a file, a folder, a glob
+-- S3Inputs             router/bulk/objects.py: every object below a prefix
Output     open_output(text): parts and manifests that appear whole or not at all
+-- LocalOutput          temporary name, forced to the disk, renamed
+-- S3Output             router/bulk/objects.py
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from router.bulk.errors import InputError, OutputError
from router.bulk.formats import SUFFIXES, format_of, known_format
from router.bulk.manifest import UnitLine, encode_line
from serving.files import sync_folder

EDGE_BYTES = 1 << 16
"""Bytes at each end of a file that its fingerprint covers; Parquet keeps its index at the end."""


class Inputs(ABC):
    """The files of a job.

    Attributes:
        names: of the files, in order; the same for every machine that looks.
    """

    names: tuple[str, ...]

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """What changes when the file changes.

        Raises:
            InputError: it is gone.
        """

    def listed(self, name: str) -> str:
        """The fingerprint of a file when the job was begun."""
        return self.fingerprint(name)

    @abstractmethod
    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file on this machine, for as long as the context lasts."""


class Output(ABC):
    """Where parts go.

    Attributes:
        scratch: local folder of parts in the making.
    """

    scratch: Path

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A small file; None when there is none."""

    @abstractmethod
    def names(self) -> list[str]:
        """Files directly below the output."""

    @abstractmethod
    def digest(self, name: str) -> str | None:
        """Hex SHA-256 of a file's bytes; None when there is none."""

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """A local path of a part, to read it."""

    @abstractmethod
    def keep(self, draft: Path, name: str) -> None:
        """Make a finished local file a part; it appears whole."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a small file; it appears whole."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one; whether it was written."""

    @abstractmethod
    def append(self, name: str, line: UnitLine) -> None:
        """Add a line to a manifest and return when it will survive."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Take a file away; nothing happens when there is none."""


class LocalInputs(Inputs):
    """A file, the files of a folder, or those that a pattern finds."""

    def __init__(self, text: str) -> None:
        path = Path(text).expanduser()
        if path.is_dir():
            self._root = path.resolve()
            found = sorted(
                str(each.relative_to(self._root))
                for each in self._root.rglob("*")
                if each.is_file() and known_format(each.name) and not _hidden(each, self._root)
            )
        elif path.is_file():
            self._root = path.resolve().parent
            format_of(path.name)
            found = [path.name]
        else:
            anchor = Path(path.anchor or ".")
            paths = [each.resolve() for each in anchor.glob(str(path.relative_to(path.anchor)))]
            paths = [each for each in paths if each.is_file() and known_format(each.name)]
            self._root = Path(os.path.commonpath([each.parent for each in paths] or [anchor]))
            found = sorted(str(each.relative_to(self._root)) for each in paths)
        self.names = tuple(found)
        if not found:
            raise InputError(
                f"expected files of rows ({', '.join(SUFFIXES)}), found none",
                at=text,
                hint="give a file, a folder, a quoted glob or s3://bucket/prefix",
            )

    def fingerprint(self, name: str) -> str:
        """Size, time of change, and a digest of both ends."""
        path = self._root / name
        try:
            stat = path.stat()
            with path.open("rb") as file:
                edges = hashlib.sha256(file.read(EDGE_BYTES))
                file.seek(max(0, stat.st_size - EDGE_BYTES))
                edges.update(file.read(EDGE_BYTES))
        except OSError as error:
            raise InputError(f"cannot read {name}: {error.strerror}", at=str(path)) from error
        return f"{stat.st_size}:{stat.st_mtime_ns}:{edges.hexdigest()[:32]}"

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self._root / name


def _hidden(path: Path, root: Path) -> bool:
    """Whether a file or one of its folders is marked as not for readers."""
    return any(word.startswith(("_", ".")) for word in path.relative_to(root).parts)


class LocalOutput(Output):
    """A folder; drafts lie in it under a hidden name, so a rename never leaves the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = root / ".draft"
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot use {root}: {error.strerror}", at=str(root)) from error

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Files of the folder."""
        return sorted(each.name for each in self.root.iterdir() if each.is_file())

    def digest(self, name: str) -> str | None:
        """By reading the file."""
        try:
            with (self.root / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def fetch(self, name: str) -> Path:
        """The file itself."""
        return self.root / name

    def keep(self, draft: Path, name: str) -> None:
        """Rename; the draft was forced to the disk by who wrote it."""
        try:
            draft.replace(self.root / name)
            sync_folder(self.root)
        except OSError as error:
            raise _unwritable(self.root / name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """Draft, force, rename."""
        draft = self.scratch / f"{name}.{os.getpid()}"
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.root / name)
            sync_folder(self.root)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _unwritable(self.root / name, error) from error

    def create(self, name: str, data: bytes) -> bool:
        """Link a finished draft: the first of several machines wins."""
        draft = self.scratch / f"{name}.{os.getpid()}"
        try:
            draft.write_bytes(data)
            os.link(draft, self.root / name)
        except FileExistsError:
            return False
        except OSError as error:
            raise _unwritable(self.root / name, error) from error
        finally:
            draft.unlink(missing_ok=True)
        return True

    def append(self, name: str, line: UnitLine) -> None:
        """Append and force; half a line is taken off again."""
        path = self.root / name
        try:
            with path.open("ab") as file:
                size = file.tell()
                try:
                    file.write(encode_line(line))
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), size)
                    raise
        except OSError as error:
            raise _unwritable(path, error) from error

    def remove(self, name: str) -> None:
        """Unlink."""
        (self.root / name).unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path.name}: {error.strerror}",
        at=str(path),
        hint="make room or allow it, then run the same line with --resume",
    )


def open_inputs(text: str, *, cache: Path) -> Inputs:
    """The files behind what the user typed.

    Args:
        text: file, folder, glob or ``s3://bucket/prefix``.
        cache: folder for downloads.

    Raises:
        InputError: there are none.
        StoreError: S3 does not answer.
    """
    parts = urlsplit(text)
    if parts.scheme == "s3":
        from router.bulk.objects import S3Inputs

        return S3Inputs(parts.netloc, parts.path.strip("/"), cache)
    return LocalInputs(text)


def open_output(text: str, *, cache: Path) -> Output:
    """Where parts go.

    Args:
        text: folder or ``s3://bucket/prefix``.
        cache: folder for parts on their way to S3.

    Raises:
        OutputError: it is no folder, or cannot be made.
    """
    parts = urlsplit(text)
    if parts.scheme == "s3":
        from router.bulk.objects import S3Output

        return S3Output(parts.netloc, parts.path.strip("/"), cache)
    path = Path(text).expanduser()
    if path.is_file() or (not path.exists() and known_format(path.name)):
        raise OutputError(
            "expected a folder: a job writes many parts and its manifest",
            at=text,
            hint="give a folder, and the format with --format",
        )
    return LocalOutput(path)
