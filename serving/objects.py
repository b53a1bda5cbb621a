"""Objects of one S3 bucket by key: list, compare, read and write, each under its own deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from serving.blobs_s3 import S3Blobs, run_alone

MISSING = 404
TAKEN = (409, 412)
PIECE_DEADLINE_S = 60.0
Result = TypeVar("Result")


class Bucket(S3Blobs):
    """A bucket, with keys as they are.

    Args:
        bucket: its name.
        endpoint_url: another service than Amazon's (also ``AWS_ENDPOINT_URL``).
        deadline_s: limit for one piece of an object, and for every other call.
    """

    def __init__(
        self, bucket: str, *, endpoint_url: str | None = None, deadline_s: float = PIECE_DEADLINE_S
    ) -> None:
        super().__init__(bucket, "", endpoint_url=endpoint_url, deadline_s=deadline_s)
        self._session: Any = None

    @property
    def url(self) -> str:
        """The bucket as a URL."""
        return f"s3://{self.bucket}"

    def list(self, prefix: str) -> dict[str, str]:
        """Keys that begin with a prefix, and what changes when the object does.

        Raises:
            StoreError: the store does not answer.
        """

        async def work(client: Any) -> dict[str, str]:
            found: dict[str, str] = {}
            token: dict[str, str] = {}
            while True:
                answer = await self._soon(
                    client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **token)
                )
                for each in answer.get("Contents", ()):
                    found[each["Key"]] = _mark(each["Size"], each["ETag"])
                if not answer.get("IsTruncated"):
                    return found
                token = {"ContinuationToken": answer["NextContinuationToken"]}

        return self._with_client(work)

    def head(self, key: str) -> str | None:
        """What changes when an object does; None when it is not there.

        Raises:
            StoreError: the store does not answer.
        """

        async def work(client: Any) -> str | None:
            from botocore.exceptions import ClientError  # type: ignore[import-untyped]

            try:
                answer = await self._soon(client.head_object(Bucket=self.bucket, Key=key))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == MISSING:
                    return None
                raise
            return _mark(answer["ContentLength"], answer["ETag"])

        return self._with_client(work)

    def download(self, key: str, target: Path) -> None:
        """An object into a file, which is complete or absent.

        Raises:
            StoreError: it is not there, or the store does not answer.
        """
        draft = target.with_name(f".{target.name}.part")
        try:
            with draft.open("wb") as file:
                run_alone(self._guarded(self._fetch(key, file)))
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def upload(self, key: str, file: Path) -> None:
        """A file as an object, in pieces; visible when the last one is there.

        Raises:
            StoreError: the store does not take it.
        """
        run_alone(self._guarded(self._put(key, file)))

    def write(self, key: str, data: bytes, *, fresh: bool = False) -> bool:
        """A small object.

        Args:
            key: its name.
            data: all of it.
            fresh: only when there is none yet; the store decides.

        Returns:
            Whether it was written.

        Raises:
            StoreError: the store does not take it.
        """

        async def work(client: Any) -> bool:
            from botocore.exceptions import ClientError

            only = {"IfNoneMatch": "*"} if fresh else {}
            try:
                await self._soon(client.put_object(Bucket=self.bucket, Key=key, Body=data, **only))
            except ClientError as error:
                if fresh and error.response["ResponseMetadata"]["HTTPStatusCode"] in TAKEN:
                    return False
                raise
            return True

        return self._with_client(work)

    def delete(self, key: str) -> None:
        """Take an object away; nothing happens when there is none.

        Raises:
            StoreError: the store does not answer.
        """

        async def work(client: Any) -> None:
            await self._soon(client.delete_object(Bucket=self.bucket, Key=key))

        self._with_client(work)

    def _key(self, name: str) -> str:
        return name

    def _session_of(self) -> Any:
        """One session for all calls: reading the service's model costs more than most of them."""
        if self._session is None:
            self._session = super()._session_of()
        return self._session

    def _with_client(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        async def call() -> Result:
            async with self._client() as client:
                return await work(client)

        return run_alone(self._guarded(call()))


def _mark(size: int, tag: str) -> str:
    return f"{size}:{tag.strip(chr(34))}"
