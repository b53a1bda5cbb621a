"""The node's own copy of what it serves: enough to start without Postgres, Redis or anyone else.

One file, replaced as a whole: releases with their proofs, keys (hashes), and the roster. Packages
lie in the artifact store's local folder. Nothing here is trusted because it is here: a worker that
starts from it verifies every signature as if it came from the feed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from router.errors import ReleaseRefusedError
from router.keys import KeyRow
from router.release.spec import ReleaseBundle, digest, read_content

FILE = "snapshot.msgpack"
FORMAT = "interlock/snapshot/v1"


class FeedRelease(Struct, frozen=True):
    """One endpoint's active release, as the feed and the disk hold it.

    Attributes:
        endpoint: its name.
        number: release number.
        digest: ``sha256:<hex>`` of the content.
        bundle: msgpack of :class:`ReleaseBundle`.
        activation: grows with every activation, also of an older number.
        suspended: only the safe answer is given.
    """

    endpoint: str
    number: int
    digest: str
    bundle: bytes
    activation: int = 0
    suspended: bool = False


class Snapshot(Struct, frozen=True):
    """Everything a router serves from.

    Attributes:
        roster: root-signed envelope.
        roster_version: highest version seen; a lower one is refused.
        releases: active release of each endpoint.
        pinned: older releases that may be asked for by number, newest first.
        keys: every key that is not long gone.
        written_at: seconds since the epoch.
    """

    roster: bytes
    releases: tuple[FeedRelease, ...] = ()
    keys: tuple[KeyRow, ...] = ()
    roster_version: int = 0
    written_at: float = 0.0
    format: str = FORMAT
    pinned: tuple[FeedRelease, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Snapshot).decode


def feed_release(
    bundle: ReleaseBundle, *, activation: int = 0, suspended: bool = False
) -> FeedRelease:
    """A bundle as the feed would carry it."""
    content = read_content(bundle.content)
    return FeedRelease(
        content.endpoint,
        content.number,
        digest(bundle.content),
        _encode(bundle),
        activation,
        suspended,
    )


def write_snapshot(
    cache_dir: Path,
    bundles: Iterable[ReleaseBundle | FeedRelease],
    keys: Iterable[KeyRow],
    roster_envelope: bytes,
    *,
    roster_version: int = 0,
    written_at: float = 0.0,
) -> Path:
    """Replace the node's copy; the file is complete or the old one stays."""
    releases = tuple(
        each if isinstance(each, FeedRelease) else feed_release(each) for each in bundles
    )
    return save(
        cache_dir, Snapshot(roster_envelope, releases, tuple(keys), roster_version, written_at)
    )


def save(cache_dir: Path, snapshot: Snapshot) -> Path:
    """Replace the node's copy with a snapshot."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    path = cache_dir / FILE
    draft = cache_dir / f".{FILE}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_encode(snapshot))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def read_snapshot(cache_dir: Path) -> Snapshot | None:
    """The node's copy, None when there is none yet.

    Raises:
        ReleaseRefusedError: the file is damaged.
    """
    path = cache_dir / FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        snapshot = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReleaseRefusedError(
            f"the local copy is damaged: {error}",
            code="snapshot.damaged",
            at=str(path),
            hint="delete it; the next start reads the feed",
        ) from error
    if snapshot.format != FORMAT:
        raise ReleaseRefusedError(
            f"expected a copy of format {FORMAT}, got {snapshot.format}",
            code="snapshot.format",
            at=str(path),
        )
    return snapshot
