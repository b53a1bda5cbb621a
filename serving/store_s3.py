"""Packages in S3, through a bounded local cache.

Objects are ``<prefix>/packages/<hex>/<file>``; the manifest is uploaded last, so a package that
has one is complete. A fetch reads the manifest, checks its digest, downloads the listed files in
parallel, verifies them all and renames the folder into the cache. What is cached needs no store:
a node starts while S3 is away.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from compiler.errors import AppError
from compiler.package import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    OBSERVED,
    SIGNATURE,
    folder_name,
    package_digest,
    parse_manifest,
    read_package,
    write_synced,
)
from serving.store import PACKAGES, ArtifactStore, StoreError

PARALLEL = 8
MAX_SIDE_BYTES = 1 << 20  # a signature or an observation
ATTEMPTS = 3
CONNECT_S = 5
Result = TypeVar("Result")


class S3Store(ArtifactStore):
    """A prefix of an S3 bucket; credentials come from the environment as for every AWS tool."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        cache: Path,
        cache_bytes: int,
        deadline_s: float,
        endpoint_url: str | None = None,
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/{PACKAGES}" if prefix else PACKAGES
        self.cache = cache
        self.cache_bytes = cache_bytes
        self.deadline_s = deadline_s
        self.endpoint_url = endpoint_url
        self._lock = threading.Lock()
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {cache}: {error.strerror}", at=str(cache)) from error

    def fetch(self, digest: str) -> Path:
        """The cached folder; downloaded first when it is not there."""
        folder = self.cache / folder_name(digest)
        with self._lock:  # two loaders of one package download it once
            if not (folder / MANIFEST).is_file():
                self._run(self._download(digest, folder))
                self._evict(folder)
            os.utime(folder)  # the least recently used goes first
        return folder

    def publish(self, folder: Path) -> str:
        """Upload every file, the manifest last."""
        package = read_package(folder)
        names = [*package.files]
        names += [name for name in (SIGNATURE, OBSERVED) if (folder / name).is_file()]
        self._run(self._upload(folder, folder_name(package.digest), names))
        return package.digest

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run to the end under the deadline, on a loop of its own, whatever the caller's thread."""

        async def limited() -> Result:
            try:
                async with asyncio.timeout(self.deadline_s):
                    return await work
            except TimeoutError as error:
                raise StoreError(
                    f"{self._place} did not answer within {self.deadline_s:g} s",
                    code="store.timeout",
                    at=self._place,
                ) from error

        with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
            return pool.submit(asyncio.run, limited()).result()

    @property
    def _place(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def _client(self) -> Any:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        config = AioConfig(
            connect_timeout=CONNECT_S,
            read_timeout=max(1.0, min(self.deadline_s, 60.0)),
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
            max_pool_connections=PARALLEL,
        )
        return get_session().create_client("s3", endpoint_url=self.endpoint_url, config=config)

    async def _download(self, digest: str, folder: Path) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self.cache))
        try:
            async with self._client() as client:
                raw = await self._get(client, digest, MANIFEST, MAX_MANIFEST_BYTES)
                if package_digest(raw) != digest:
                    raise StoreError(
                        f"the store holds another package under {digest}",
                        code="package.identity",
                        at=self._place,
                    )
                manifest = parse_manifest(raw, self._place)
                total = sum(entry.bytes for entry in manifest.files.values())
                if total > self.cache_bytes:
                    raise StoreError(
                        f"the package has {total} bytes, the cache takes {self.cache_bytes}",
                        code="store.full",
                        at=str(self.cache),
                    )
                limit = asyncio.Semaphore(PARALLEL)

                async def one(name: str, size: int, *, needed: bool) -> None:
                    async with limit:
                        try:
                            data = await self._get(client, digest, name, size)
                        except StoreError as error:
                            if needed or error.code != "store.missing":
                                raise
                            return
                    await asyncio.to_thread(write_synced, temporary / "package" / name, data)

                async with asyncio.TaskGroup() as tasks:
                    for name, entry in manifest.files.items():
                        tasks.create_task(one(name, entry.bytes, needed=True))
                    for name in (SIGNATURE, OBSERVED):
                        tasks.create_task(one(name, MAX_SIDE_BYTES, needed=False))
            write_synced(temporary / "package" / MANIFEST, raw)
            read_package(temporary / "package", expected_digest=digest)
            (temporary / "package").replace(folder)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        except _failures() as error:
            raise StoreError(f"cannot reach {self._place}: {error}", at=self._place) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    async def _get(self, client: Any, digest: str, name: str, limit: int) -> bytes:
        key = f"{self.prefix}/{folder_name(digest)}/{name}"
        try:
            answer = await client.get_object(Bucket=self.bucket, Key=key)
        except client.exceptions.NoSuchKey as error:
            raise StoreError(
                f"package {digest} is not in the store ({name})",
                code="store.missing",
                at=self._place,
            ) from error
        async with answer["Body"] as body:
            if answer["ContentLength"] > limit:
                raise StoreError(
                    f"{name}: expected at most {limit} bytes, got {answer['ContentLength']}",
                    code="package.size",
                    at=f"s3://{self.bucket}/{key}",
                )
            data: bytes = await body.read()
        return data

    async def _upload(self, folder: Path, hexadecimal: str, names: list[str]) -> None:
        limit = asyncio.Semaphore(PARALLEL)
        try:
            async with self._client() as client:

                async def one(name: str) -> None:
                    async with limit:
                        data = await asyncio.to_thread((folder / name).read_bytes)
                        key = f"{self.prefix}/{hexadecimal}/{name}"
                        await client.put_object(Bucket=self.bucket, Key=key, Body=data)

                async with asyncio.TaskGroup() as tasks:
                    for name in names:
                        tasks.create_task(one(name))
                await one(MANIFEST)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        except _failures() as error:
            raise StoreError(f"cannot write to {self._place}: {error}", at=self._place) from error

    def _evict(self, keep: Path) -> None:
        """Remove the least recently used packages until the cache fits its limit."""
        folders = [item for item in self.cache.iterdir() if (item / MANIFEST).is_file()]
        sizes = {item: _size(item) for item in folders}
        total = sum(sizes.values())
        for folder in sorted(folders, key=lambda item: item.stat().st_mtime_ns):
            if total <= self.cache_bytes:
                return
            if folder != keep:
                total -= sizes[folder]
                shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(item.stat().st_size for item in folder.rglob("*") if item.is_file())


def _failures() -> tuple[type[Exception], ...]:
    """What an unreachable or refusing store raises."""
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    return (OSError, BotoCoreError, ClientError)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to report: ours when there is one."""
    found = list(group.exceptions)
    for error in found:
        if isinstance(error, AppError):
            return error
    if isinstance(found[0], BaseExceptionGroup):
        return _first(found[0])
    return StoreError(f"the store failed: {found[0]}")
