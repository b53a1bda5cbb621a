"""Large files in S3: uploaded and downloaded in pieces, each under its own deadline.

A failed upload is abandoned as a whole, so a name never shows half a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from serving.blobs import BlobStore, checked, missing
from serving.store import StoreError

PIECE_BYTES = 32 << 20
ATTEMPTS = 3
CONNECT_S = 5
Result = TypeVar("Result")


class S3Blobs(BlobStore):
    """Files below a prefix; credentials come from the environment as for every AWS tool."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint_url: str | None = None,
        deadline_s: float,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint_url = endpoint_url
        self.deadline_s = deadline_s
        self.piece_bytes = piece_bytes

    def put(self, name: str, file: Path) -> None:
        """Upload in pieces; visible when the last one is there."""
        run_alone(self._guarded(self._put(self._key(name), file)))

    def fetch(self, name: str, folder: Path) -> Path:
        """Download into a draft, then rename it to the last word of the name."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / checked(name).rpartition("/")[2]
        handle, draft = tempfile.mkstemp(prefix=".fetch-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                run_alone(self._guarded(self._fetch(name, file)))
            Path(draft).replace(target)
        finally:
            Path(draft).unlink(missing_ok=True)
        return target

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{checked(name)}" if self.prefix else checked(name)

    @property
    def _place(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def _client(self) -> Any:
        from aiobotocore.config import AioConfig

        config = AioConfig(
            connect_timeout=CONNECT_S,
            read_timeout=max(1.0, min(self.deadline_s, 60.0)),
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
        )
        return self._session_of().create_client("s3", endpoint_url=self.endpoint_url, config=config)

    def _session_of(self) -> Any:
        from aiobotocore.session import get_session

        return get_session()

    async def _guarded(self, work: Coroutine[Any, Any, Result]) -> Result:
        from botocore.exceptions import (  # type: ignore[import-untyped]
            BotoCoreError,
            ClientError,
        )

        try:
            return await work
        except TimeoutError as error:
            raise StoreError(
                f"{self._place} did not answer within {self.deadline_s:g} s",
                code="store.timeout",
                at=self._place,
            ) from error
        except (BotoCoreError, ClientError, OSError) as error:
            raise StoreError(f"cannot use {self._place}: {error}", at=self._place) from error

    async def _soon(self, work: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(self.deadline_s):
            return await work

    async def _put(self, key: str, file: Path) -> None:
        where = {"Bucket": self.bucket, "Key": key}
        async with self._client() as client:
            with file.open("rb") as source:
                first = await asyncio.to_thread(source.read, self.piece_bytes)
                if len(first) < self.piece_bytes:
                    await self._soon(client.put_object(**where, Body=first))
                    return
                made = await self._soon(client.create_multipart_upload(**where))
                upload = {**where, "UploadId": made["UploadId"]}
                try:
                    pieces = await self._pieces(client, upload, source, first)
                    await self._soon(
                        client.complete_multipart_upload(
                            **upload, MultipartUpload={"Parts": pieces}
                        )
                    )
                except BaseException:
                    with contextlib.suppress(Exception):  # what failed is what counts
                        await self._soon(client.abort_multipart_upload(**upload))
                    raise

    async def _pieces(
        self, client: Any, upload: dict[str, str], source: IO[bytes], piece: bytes
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while piece:
            number = len(found) + 1
            answer = await self._soon(client.upload_part(**upload, PartNumber=number, Body=piece))
            found.append({"PartNumber": number, "ETag": answer["ETag"]})
            piece = await asyncio.to_thread(source.read, self.piece_bytes)
        return found

    async def _fetch(self, name: str, file: IO[bytes]) -> None:
        async with self._client() as client:
            try:
                answer = await self._soon(
                    client.get_object(Bucket=self.bucket, Key=self._key(name))
                )
            except client.exceptions.NoSuchKey as error:
                raise missing(name, self._place) from error
            async with answer["Body"] as body:
                while chunk := await self._soon(body.read(self.piece_bytes)):
                    await asyncio.to_thread(file.write, chunk)


def run_alone(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end on a loop of its own, whatever the caller's thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="blobs") as pool:
        return pool.submit(asyncio.run, work).result()
