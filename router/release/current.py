"""What a worker serves at this moment, and how a snapshot of the feed becomes it.

``Loader.apply`` builds everything that is new, off the loop, and returns a complete ``Current``;
the caller swaps one reference. A release that does not check out is refused by name and the one
before it stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from compiler.errors import AppError
from compiler.identity import Trust
from compiler.schema import CONTEXT_PREFIX
from router.endpoint import Endpoint
from router.errors import ReleaseRefusedError
from router.keys import KeyTable
from router.release.build import Loader as ModelLoader
from router.release.build import build_endpoint
from router.release.disk import FeedRelease, Snapshot
from serving.registry import MemoryLimitError

_log = logging.getLogger(__name__)

RETRY_S = 15.0
"""A refused release is tried again after this: its package may have arrived meanwhile."""


class Refusal(Struct, frozen=True):
    """A release (or the roster) that was not taken, and why.

    Attributes:
        what: endpoint, or ``roster``.
        number: release number, 0 for the roster.
        code: problem code.
        message: what is wrong with it.
    """

    what: str
    number: int
    code: str
    message: str


class Current(Struct, frozen=True, eq=False):
    """Endpoints, keys and trust of one moment.

    Attributes:
        snapshot: what it was made from, with the last good release where a new one was refused.
        endpoints: by name.
        pinned: older releases that still answer callers who name them, by name and number.
        keys: live keys.
        trust: verified roster, None before the first.
        refusals: what was refused on the way here.
    """

    snapshot: Snapshot
    endpoints: Mapping[str, Endpoint]
    keys: KeyTable
    trust: Trust | None
    refusals: tuple[Refusal, ...] = ()
    pinned: Mapping[tuple[str, int], Endpoint] = {}

    def all_endpoints(self) -> tuple[Endpoint, ...]:
        """Active releases, then the older ones that still answer."""
        return (*self.endpoints.values(), *self.pinned.values())


EMPTY = Current(Snapshot(b""), {}, KeyTable(), None)
Identity = tuple[str, int, str, int, bool]


def identity(release: FeedRelease) -> Identity:
    """What makes a release of the feed a new one."""
    return (
        release.endpoint,
        release.number,
        release.digest,
        release.activation,
        release.suspended,
    )


class ReleaseLoader:
    """Turns snapshots into what is served; used from one thread at a time.

    Args:
        root_public: the only thing trusted beforehand, 32 bytes.
        models: where loaded models come from.
        can_seal: the node has the key that seals sensitive features.
    """

    def __init__(self, root_public: bytes, models: ModelLoader, *, can_seal: bool = False) -> None:
        self._root_public = root_public
        self._can_seal = can_seal
        self._models = models
        self._named: set[Refusal] = set()
        self._failed: dict[tuple[Identity, int], tuple[float, Refusal]] = {}

    def apply(self, snapshot: Snapshot, before: Current) -> Current:
        """The next state; raises nothing but programming errors."""
        refusals: list[Refusal] = []
        trust, roster = self._trust(snapshot, before, refusals)
        keys = before.keys if snapshot.keys == before.keys.rows else KeyTable(snapshot.keys)
        served: dict[str, Endpoint] = {}
        releases: list[FeedRelease] = []
        old = {each.endpoint: each for each in before.snapshot.releases}
        same_trust = _same(trust, before.trust)
        for release in snapshot.releases:
            last = old.get(release.endpoint)
            if last is not None and identity(last) == identity(release) and same_trust:
                served[release.endpoint] = before.endpoints[release.endpoint]
                releases.append(last)
                continue
            endpoint = self._build(release, trust, refusals)
            if endpoint is not None:
                served[release.endpoint] = endpoint
                releases.append(release)
            elif last is not None and (kept := self._keep(last, release, trust, before, refusals)):
                served[release.endpoint] = kept
                releases.append(last)
        pinned: dict[tuple[str, int], Endpoint] = {}
        if not any(each.code == MemoryLimitError.code for each in refusals):
            for release in candidates(served, snapshot.pinned):
                found = self._pin(release, trust, before, refusals)
                if found is not None:
                    pinned[release.endpoint, release.number] = found
        elif before.pinned:  # the active release goes before older ones: they make room for it
            self._failed.clear()
        for refusal in refusals:
            if refusal not in self._named:
                _log.error(
                    "refused %s %s: %s: %s",
                    refusal.what,
                    refusal.number or "",
                    refusal.code,
                    refusal.message,
                )
        self._named = set(refusals)
        state = Snapshot(
            roster,
            tuple(releases),
            keys.rows,
            trust.version if trust else 0,
            snapshot.written_at,
            pinned=snapshot.pinned,
        )
        return Current(state, served, keys, trust, tuple(refusals), pinned)

    def _trust(
        self, snapshot: Snapshot, before: Current, refusals: list[Refusal]
    ) -> tuple[Trust | None, bytes]:
        """The roster of the snapshot, or the last good one when it does not check out."""
        if before.trust is not None and snapshot.roster == before.snapshot.roster:
            return before.trust, snapshot.roster
        seen = max(before.trust.version if before.trust else 0, snapshot.roster_version)
        try:
            trust = Trust.from_roster(
                snapshot.roster,
                self._root_public,
                now=datetime.now(UTC),
                min_version=seen,
                allow_expired=True,  # a node that starts alone serves what was validly activated
            )
        except AppError as error:
            refusals.append(Refusal("roster", 0, error.code, error.message))
            return before.trust, before.snapshot.roster
        return trust, snapshot.roster

    def _build(
        self, release: FeedRelease, trust: Trust | None, refusals: list[Refusal]
    ) -> Endpoint | None:
        attempt = (identity(release), trust.version if trust else 0)
        retry_at, refusal = self._failed.get(attempt, (0.0, None))
        if refusal is None or time.monotonic() >= retry_at:
            try:
                endpoint = build_endpoint(release, need_trust(trust), self._models)
                need_plain_context(endpoint)
                if not self._can_seal:
                    need_no_seal(endpoint)
            except AppError as error:
                refusal = Refusal(release.endpoint, release.number, error.code, error.message)
            except Exception as error:
                _log.exception("release %s %s", release.endpoint, release.number)
                said = f"{type(error).__name__}: {error}"
                refusal = Refusal(release.endpoint, release.number, "release.failed", said)
            else:
                self._failed.pop(attempt, None)
                return endpoint
            self._failed[attempt] = (time.monotonic() + RETRY_S, refusal)
        refusals.append(refusal)
        return None

    def _pin(
        self,
        release: FeedRelease,
        trust: Trust | None,
        before: Current,
        refusals: list[Refusal],
    ) -> Endpoint | None:
        """An older release, under the roster and suspension of now; nothing stands in for it."""
        known = before.pinned.get((release.endpoint, release.number))
        last = before.endpoints.get(release.endpoint)
        if known is None and last is not None and last.number == release.number:
            known = last
        if known is None or known.digest != release.digest or not _same(trust, before.trust):
            return self._build(release, trust, refusals)
        if (known.activation, known.suspended) == (release.activation, release.suspended):
            return known
        return msgspec.structs.replace(
            known, activation=release.activation, suspended=release.suspended
        )

    def _keep(
        self,
        last: FeedRelease,
        refused: FeedRelease,
        trust: Trust | None,
        before: Current,
        refusals: list[Refusal],
    ) -> Endpoint | None:
        """The last good release of an endpoint, under the roster and suspension of now."""
        kept = before.endpoints.get(last.endpoint)
        if kept is None:
            return None
        if _same(trust, before.trust):
            return msgspec.structs.replace(kept, suspended=refused.suspended)
        if identity(last) == identity(refused):
            return None  # the same release lost its proofs: a key was revoked
        return self._build(last, trust, refusals)


def _same(trust: Trust | None, before: Trust | None) -> bool:
    """Whether what was proved before still is: there was a roster, and it is this one."""
    return trust is not None and before is not None and trust.version == before.version


def candidates(
    served: Mapping[str, Endpoint], pinned: Iterable[FeedRelease]
) -> Iterator[FeedRelease]:
    """Older releases that the policy of the one that is served keeps, newest first.

    Args:
        served: what answers now, by name of the endpoint.
        pinned: what the feed offers.
    """
    left = {name: each.policies.pinned_releases for name, each in served.items()}
    for release in sorted(pinned, key=lambda each: -each.number):
        now = served.get(release.endpoint)
        if now is not None and release.number < now.number and left[now.name] > 0:
            left[now.name] -= 1
            yield release


def need_plain_context(endpoint: Endpoint) -> None:
    """Check that records may keep the context as it came: it is neither sealed nor split.

    Raises:
        ReleaseRefusedError: a context feature is marked sensitive or protected.
    """
    names = [
        name
        for name, each in endpoint.content.features.items()
        if name.startswith(CONTEXT_PREFIX) and (each.sensitive or each.protected)
    ]
    if names:
        raise ReleaseRefusedError(
            f"{', '.join(names[:5])}: context features cannot be sensitive or protected yet",
            code="release.sensitive",
            hint="declare it as a feature: models and rules need not read it",
        )


def need_no_seal(endpoint: Endpoint) -> None:
    """Check that no value of an endpoint has to be sealed.

    Raises:
        ReleaseRefusedError: one has: its records would hold it in the clear.
    """
    names = [name for name, each in endpoint.content.features.items() if each.sensitive]
    if names:
        raise ReleaseRefusedError(
            f"features {', '.join(names[:5])} are sensitive, and this node has no key to seal them",
            code="release.sensitive",
            hint="give the routers the master key (INTERLOCK_MASTER_KEY)",
        )


def need_trust(trust: Trust | None) -> Trust:
    """The roster.

    Raises:
        ReleaseRefusedError: there is none that checks out.
    """
    if trust is None:
        raise ReleaseRefusedError("there is no trusted roster", code="release.no_roster")
    return trust
