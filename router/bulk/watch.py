"""The release a job is pinned to: proved like a router proves it, looked at again between units.

The database is asked when there is one, else the node's own copy. A release that was suspended, or
whose endpoint is gone, stops the job; one that was followed by another does not: the job is about
the release it was begun with.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from router.bulk.errors import BulkError, StoppedError
from router.release.current import EMPTY, ReleaseLoader
from router.release.disk import FeedRelease, Snapshot, read_snapshot
from router.release.feed import BUNDLE, RELEASES, ROSTER
from router.release.load import ModelShelf
from serving.store import ArtifactStore

if TYPE_CHECKING:
    from router.endpoint import Endpoint
    from router.settings import RouterSettings

DEADLINE_S = 5.0
LOOK_S = 1.0


def pin(settings: RouterSettings, name: str) -> tuple[Endpoint, str]:
    """The endpoint's active release, with every proof checked and its models loaded.

    Args:
        settings: as of a router on this machine.
        name: of the endpoint.

    Returns:
        The endpoint, and where its release was read from.

    Raises:
        BulkError: nothing is published, the endpoint is not among it, or its release is refused.
        StoppedError: it is suspended.
    """
    from router.lifecycle import read_root_key

    snapshot, source = _snapshot(settings, name, whole=True)
    mine = tuple(each for each in snapshot.releases if each.endpoint == name)
    if not mine:
        known = ", ".join(sorted(each.endpoint for each in snapshot.releases)) or "none"
        raise BulkError(
            f"expected an endpoint with an active release, got {name!r} (there are: {known})",
            code="bulk.endpoint",
        )
    if mine[0].suspended:
        raise StoppedError(
            f"{name} is suspended", code="bulk.suspended", hint="resume the endpoint first"
        )
    shelf = ModelShelf(ArtifactStore.open(settings.artifact_store), settings.models)
    loader = ReleaseLoader(
        read_root_key(settings.root_key), shelf, can_seal=settings.master_key is not None
    )
    current = loader.apply(msgspec.structs.replace(snapshot, releases=mine), EMPTY)
    endpoint = current.endpoints.get(name)
    if endpoint is None:
        first = current.refusals[0]
        raise BulkError(f"{first.what}: {first.message}", code=first.code)
    return endpoint, source


class Watch:
    """Looks whether a job may go on.

    Args:
        settings: as of a router on this machine.
        endpoint: the pinned one.
    """

    def __init__(self, settings: RouterSettings, endpoint: Endpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._next = 0.0

    def check(self) -> None:
        """Return when the job may go on; looks at most once a second.

        Raises:
            StoppedError: the endpoint was suspended, or its release ended.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_S
        name = self._endpoint.name
        try:
            snapshot, _ = _snapshot(self._settings, name, whole=False)
        except BulkError:
            return  # nobody can say now; routers serve on, too
        found = next((each for each in snapshot.releases if each.endpoint == name), None)
        if found is None:
            raise StoppedError(f"{name} is no longer served", code="bulk.terminated")
        if found.suspended:
            raise StoppedError(f"{name} was suspended", code="bulk.suspended")


def _snapshot(settings: RouterSettings, name: str, *, whole: bool) -> tuple[Snapshot, str]:
    """What is published, from the database or the node's own copy.

    Args:
        settings: where to look.
        name: endpoint whose bundle is wanted.
        whole: with roster and bundle.

    Raises:
        BulkError: neither can say.
    """
    copy = read_snapshot(settings.cache_dir)
    trouble = "no database is set"
    if settings.database_url is not None:
        try:
            found = asyncio.run(_feed(settings.database_url, name if whole else ""))
        except Exception as error:  # the driver's own tree and the network's
            trouble = " ".join(str(error).split()) or type(error).__name__
        else:
            seen = copy.roster_version if copy is not None else 0
            if found.roster or not whole:
                return msgspec.structs.replace(found, roster_version=seen), "the database"
            trouble = "the database has no roster yet"
    if copy is None:
        raise BulkError(
            f"nothing is published here: {trouble}, and there is no local copy",
            code="bulk.no_release",
            at=str(settings.cache_dir),
            hint="name the home of a node with --home, or set DATABASE_URL",
        )
    return copy, "this node's copy"


async def _feed(url: str, wanted: str) -> Snapshot:
    import asyncpg

    async with asyncio.timeout(DEADLINE_S):
        connection: Any = await asyncpg.connect(url)
        try:
            releases = []
            for row in await connection.fetch(RELEASES):
                bundle = b""
                if row["endpoint"] == wanted:
                    bundle = bytes(
                        await connection.fetchval(BUNDLE, row["endpoint"], row["digest"])
                    )
                releases.append(
                    FeedRelease(
                        row["endpoint"],
                        row["number"],
                        row["digest"],
                        bundle,
                        row["activation"],
                        row["suspended"],
                    )
                )
            roster = await connection.fetchrow(ROSTER) if wanted else None
        finally:
            connection.terminate()
    envelope = roster["envelope"] if roster is not None else b""
    raw = envelope.encode() if isinstance(envelope, str) else bytes(envelope)
    return Snapshot(raw, tuple(releases))
