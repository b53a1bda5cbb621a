"""What is taken away counts before anything is loaded, and nothing is given back early."""

from pathlib import Path

import msgspec
import pytest

from router.endpoint import Endpoint
from router.keys import KeyTable
from router.release.build import build_endpoint
from router.release.current import Current
from router.release.disk import FeedRelease, Snapshot, feed_release
from router.release.load import ModelShelf
from router.release.urgent import urgent
from serving.store import ArtifactStore
from tests import router_world as world
from tests.builders import trust

KEYS = (world.routing_key(),)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[FeedRelease, Endpoint]]:
    store = tmp_path_factory.mktemp("store")
    shelf = ModelShelf(ArtifactStore.open(str(store)))
    found = {}
    for number in (1, 2, 3):
        release = feed_release(world.bundle_of(world.credit(Path(store), number=number)))
        found[number] = release, build_endpoint(release, trust(), shelf)
    return found


def state(releases: dict[int, tuple[FeedRelease, Endpoint]], *, suspended: bool = False) -> Current:
    """Release 2 serves, release 1 is pinned."""

    def served(number: int) -> Endpoint:
        return msgspec.structs.replace(releases[number][1], suspended=suspended)

    snapshot = offer(releases, 2, suspended=suspended)
    table = KeyTable(KEYS)
    return Current(snapshot, {"credit": served(2)}, table, trust(), (), {("credit", 1): served(1)})


def offer(
    releases: dict[int, tuple[FeedRelease, Endpoint]],
    active: int,
    *,
    suspended: bool = False,
    pinned: tuple[int, ...] = (1,),
) -> Snapshot:
    def named(number: int) -> FeedRelease:
        return msgspec.structs.replace(releases[number][0], suspended=suspended)

    return Snapshot(b"", (named(active),), KEYS, 1, pinned=tuple(named(n) for n in pinned))


def test_nothing_new_is_the_same_state(releases: dict[int, tuple[FeedRelease, Endpoint]]) -> None:
    before = state(releases)
    assert urgent(before, offer(releases, 2), before.keys) is before


@pytest.mark.parametrize("active", [2, 3])
def test_suspension_counts_for_the_release_that_serves(
    releases: dict[int, tuple[FeedRelease, Endpoint]], active: int
) -> None:
    """Also when the one that the feed names is not loaded yet."""
    before = state(releases)
    after = urgent(before, offer(releases, active, suspended=True), before.keys)
    assert [each.suspended for each in after.all_endpoints()] == [True, True]
    assert after.endpoints["credit"].number == 2
    marked = [each.suspended for each in (*after.snapshot.releases, *after.snapshot.pinned)]
    assert marked == [True, True]  # a restart from the node's own copy resumes nothing


def test_release_that_was_followed_is_not_resumed_by_its_successor(
    releases: dict[int, tuple[FeedRelease, Endpoint]],
) -> None:
    before = state(releases, suspended=True)
    after = urgent(before, offer(releases, 3), before.keys)
    assert after.endpoints["credit"].suspended
    assert not after.pinned["credit", 1].suspended
    resumed = urgent(before, offer(releases, 2), before.keys)
    assert not resumed.endpoints["credit"].suspended


def test_older_release_that_is_no_longer_offered_is_gone(
    releases: dict[int, tuple[FeedRelease, Endpoint]],
) -> None:
    before = state(releases)
    after = urgent(before, offer(releases, 2, pinned=()), before.keys)
    assert (dict(after.pinned), after.endpoints) == ({}, before.endpoints)


def test_keys_are_the_snapshots_and_the_table_that_serves_is_kept(
    releases: dict[int, tuple[FeedRelease, Endpoint]],
) -> None:
    before = state(releases)
    revoked = msgspec.structs.replace(KEYS[0], revoked_at=1.0)
    wanted = msgspec.structs.replace(offer(releases, 2), keys=(revoked,))
    after = urgent(before, wanted, before.keys)
    assert after.keys.rows == after.snapshot.keys == (revoked,)
    assert urgent(before, wanted, after.keys).keys is after.keys
