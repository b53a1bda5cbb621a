"""What cannot wait for a release to be loaded: revoked keys, suspensions, withdrawn older releases.

Loading is tens of milliseconds for most releases and seconds for some. Whatever takes a right away
is applied to what is served now, before anything is loaded.
"""

from __future__ import annotations

import msgspec

from router.endpoint import Endpoint
from router.keys import KeyTable
from router.release.current import Current
from router.release.disk import FeedRelease, Snapshot


def urgent(current: Current, snapshot: Snapshot, keys: KeyTable) -> Current:
    """The state under the keys and suspensions of a snapshot; the same object when it is already.

    A release that is served and offered takes its suspension as it is. One that has been followed
    by another, which is not loaded yet, can only be suspended, not resumed.

    Args:
        current: what is served, or will be.
        snapshot: newest of the feed.
        keys: table that is served, kept when its rows are the snapshot's.
    """
    if keys.rows != snapshot.keys:
        keys = current.keys if current.keys.rows == snapshot.keys else KeyTable(snapshot.keys)
    offered = {
        (each.endpoint, each.digest): each.suspended
        for each in (*snapshot.releases, *snapshot.pinned)
    }
    stopped = {each.endpoint for each in snapshot.releases if each.suspended}

    def under(each: Endpoint) -> Endpoint:
        wanted = offered.get((each.name, each.digest), each.suspended or each.name in stopped)
        if wanted == each.suspended:
            return each
        return msgspec.structs.replace(each, suspended=wanted)

    endpoints = {name: under(each) for name, each in current.endpoints.items()}
    pinned = {
        place: under(each)
        for place, each in current.pinned.items()
        if (each.name, each.digest) in offered
    }
    same = keys is current.keys and len(pinned) == len(current.pinned)
    same = same and all(endpoints[name] is each for name, each in current.endpoints.items())
    if same and all(pinned[place] is each for place, each in current.pinned.items()):
        return current
    return msgspec.structs.replace(
        current,
        keys=keys,
        endpoints=endpoints,
        pinned=pinned,
        snapshot=_marked(current.snapshot, keys, (*endpoints.values(), *pinned.values())),
    )


def _marked(snapshot: Snapshot, keys: KeyTable, served: tuple[Endpoint, ...]) -> Snapshot:
    """A snapshot as the node's copy should say it: a restart resumes nothing."""
    state = {(each.name, each.digest): each.suspended for each in served}

    def mark(releases: tuple[FeedRelease, ...]) -> tuple[FeedRelease, ...]:
        return tuple(
            msgspec.structs.replace(
                each, suspended=state.get((each.endpoint, each.digest), each.suspended)
            )
            for each in releases
        )

    return msgspec.structs.replace(
        snapshot, keys=keys.rows, releases=mark(snapshot.releases), pinned=mark(snapshot.pinned)
    )
