"""What a stack on this machine leaves in its home: its address, its releases, the demo's key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from compiler.errors import AppError
from router.release.disk import read_snapshot
from router.release.spec import ReleaseBundle, ReleaseContent

DEFAULT_URL = "http://127.0.0.1:8080"


def find_home(home: str | None) -> Path:
    """The stack's folder: the flag, the environment, or the default."""
    return Path(home or os.environ.get("INTERLOCK_HOME") or Path.home() / ".interlock")


def find_url(home: Path) -> str:
    """Data plane of the stack that last ran in a home, else the default address."""
    urls = _document(home / "stack.json").get("urls")
    return str(urls.get("router", DEFAULT_URL)) if isinstance(urls, dict) else DEFAULT_URL


def find_demo_key(home: Path) -> str:
    """The routing key that the demo keeps for its own next run, or nothing."""
    return str(_document(home / "secrets" / "story.json").get("key") or "")


def find_services(home: Path) -> dict[str, int]:
    """Names and process ids of the stack that last ran in a home."""
    found = _document(home / "stack.json").get("services")
    if not isinstance(found, dict):
        return {}
    return {name: pid for name, pid in found.items() if isinstance(pid, int)}


def find_release(home: Path, endpoint: str) -> ReleaseContent | None:
    """The release that this machine's router keeps for an endpoint, or None.

    Without a name it is the only endpoint's release.
    """
    try:
        snapshot = read_snapshot(home / "cache" / "router")
    except (OSError, AppError):
        return None  # none here, or damaged: the router's own start will say so
    if snapshot is None:
        return None
    found = [release for release in snapshot.releases if endpoint in {release.endpoint, ""}]
    if len(found) != 1:
        return None
    bundle = msgspec.msgpack.decode(found[0].bundle, type=ReleaseBundle)
    return msgspec.json.decode(bundle.content, type=ReleaseContent)


def _document(path: Path) -> dict[str, Any]:
    """A JSON object of a file; empty when there is none."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}
