"""Inputs and outputs in S3: every call under a deadline, every object whole or absent."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router.bulk.errors import InputError, OutputError
from router.bulk.formats import SUFFIXES, format_of, known_format
from router.bulk.manifest import UnitLine, encode_line
from router.bulk.places import Inputs, Output
from serving.files import file_digest
from serving.objects import PIECE_DEADLINE_S, Bucket
from serving.store import StoreError


class S3Inputs(Inputs):
    """Every object of rows below a prefix, or one object."""

    def __init__(
        self, bucket: str, prefix: str, cache: Path, *, deadline_s: float = PIECE_DEADLINE_S
    ) -> None:
        self._bucket = Bucket(bucket, deadline_s=deadline_s)
        self._cache = cache
        found = self._bucket.list(prefix)
        if prefix in found:  # one object
            self._root = prefix[: prefix.rfind("/") + 1]
            format_of(prefix)
            found = {prefix: found[prefix]}
        else:
            self._root = prefix.rstrip("/") + "/" if prefix else ""
        self._marks = {
            key.removeprefix(self._root): mark
            for key, mark in found.items()
            if key.startswith(self._root) and _is_input(key.removeprefix(self._root))
        }
        self.names = tuple(sorted(self._marks))
        if not self.names:
            raise InputError(
                f"expected objects of rows ({', '.join(SUFFIXES)}), found none",
                at=f"s3://{bucket}/{prefix}",
            )

    def fingerprint(self, name: str) -> str:
        """Size and entity tag, asked for now."""
        mark = self._bucket.head(self._root + name)
        if mark is None:
            raise InputError("the object is gone", at=f"{self._bucket.url}/{self._root}{name}")
        return mark

    def listed(self, name: str) -> str:
        """As the listing has it."""
        return self._marks[name]

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A download, as long as it is needed."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            path = Path(folder) / Path(name).name
            self._bucket.download(self._root + name, path)
            yield path


class S3Output(Output):
    """Objects below a prefix; drafts are local, and an upload is visible when it is complete."""

    def __init__(
        self, bucket: str, prefix: str, cache: Path, *, deadline_s: float = PIECE_DEADLINE_S
    ) -> None:
        self._bucket = Bucket(bucket, deadline_s=deadline_s)
        self._prefix = prefix.rstrip("/") + "/" if prefix else ""
        cache.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(dir=cache, prefix="bulk-"))
        weakref.finalize(self, shutil.rmtree, self.scratch, ignore_errors=True)
        self._text: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object."""
        path = self.scratch / f"{name}.read"
        try:
            self._bucket.download(self._prefix + name, path)
        except StoreError as error:
            if error.code == "store.missing":
                return None
            raise
        data = path.read_bytes()
        path.unlink()
        return data

    def names(self) -> list[str]:
        """Objects directly below the prefix."""
        found = (key.removeprefix(self._prefix) for key in self._bucket.list(self._prefix))
        return sorted(name for name in found if "/" not in name)

    def digest(self, name: str) -> str | None:
        """By reading the object."""
        try:
            path = self.fetch(name)
        except StoreError as error:
            if error.code == "store.missing":
                return None
            raise
        found = file_digest(path).removeprefix("sha256:")
        path.unlink()
        return found

    def fetch(self, name: str) -> Path:
        """A download in the scratch folder; the next one of the same name replaces it."""
        path = self.scratch / name
        self._bucket.download(self._prefix + name, path)
        return path

    def keep(self, draft: Path, name: str) -> None:
        """Upload, then forget the local copy."""
        try:
            self._bucket.upload(self._prefix + name, draft)
        except StoreError as error:
            raise _unwritable(name, error) from error
        finally:
            draft.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """One object."""
        self._text[name] = data
        try:
            self._bucket.write(self._prefix + name, data)
        except StoreError as error:
            raise _unwritable(name, error) from error

    def create(self, name: str, data: bytes) -> bool:
        """One object, unless there is one: S3 decides who was first."""
        return self._bucket.write(self._prefix + name, data, fresh=True)

    def append(self, name: str, line: UnitLine) -> None:
        """The whole manifest again: objects cannot grow."""
        before = self._text.get(name)
        if before is None:
            before = self.read(name) or b""
        self.write(name, before + encode_line(line))

    def remove(self, name: str) -> None:
        """Delete the object."""
        self._bucket.delete(self._prefix + name)


def _unwritable(name: str, error: StoreError) -> OutputError:
    return OutputError(
        f"cannot write {name}: {error.message}",
        at=error.at,
        hint="run the same line with --resume when the store answers again",
    )


def _is_input(name: str) -> bool:
    return known_format(name) is not None and not any(
        word.startswith(("_", ".")) for word in name.split("/")
    )
