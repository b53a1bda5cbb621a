"""Whom an offline command trusts: the root key of the home that holds the package, or of a flag."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from compiler.errors import AppError
from compiler.identity import Trust
from compiler.signing import unb64
from interlock.home import Home

ROOT_BYTES = 32


class NoTrustError(AppError):
    """No trusted root is configured."""

    code = "trust.none"


def read_root(text: str) -> bytes:
    """The public root key from base64 text or from a file that holds it.

    Raises:
        NoTrustError: neither.
    """
    path = Path(text).expanduser()
    if len(text) < 256 and path.is_file():
        text = path.read_text()
    try:
        public = unb64(text.strip())
    except ValueError as error:
        raise NoTrustError(
            f"expected a root key (base64) or its file, got {text[:60]!r}"
        ) from error
    if len(public) != ROOT_BYTES:
        raise NoTrustError(f"expected a root key of {ROOT_BYTES} bytes, got {len(public)}")
    return public


def find_home(start: Path, home: Path | None) -> Home | None:
    """The home given, or the nearest folder above ``start`` that looks like one."""
    if home is not None:
        return Home(home.expanduser())
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "secrets" / "root.pub").is_file():
            return Home(folder)
    named = os.environ.get("INTERLOCK_HOME")
    return Home(Path(named).expanduser()) if named else None


def find_trust(
    start: Path, *, home: Path | None = None, root: str | None = None, roster: Path | None = None
) -> Trust:
    """Trust for verifying what lies at ``start``.

    Args:
        start: the package; homes are looked for from here upwards.
        home: this home instead.
        root: root key (base64 or file) instead of a home's; also ``INTERLOCK_ROOT_KEY``.
        roster: roster file instead of the home's.

    Raises:
        NoTrustError: nothing is configured.
        RosterError: the roster does not check out.
    """
    root = root or os.environ.get("INTERLOCK_ROOT_KEY")
    place = find_home(start, home)
    if root is None and place is not None and (place.secrets / "root.pub").is_file():
        root = str(place.secrets / "root.pub")
    if roster is None and place is not None and (place.secrets / "roster.json").is_file():
        roster = place.secrets / "roster.json"
    if root is None or roster is None:
        raise NoTrustError(
            "no trusted root" if root is None else "no roster",
            hint="give --home, or --root (or INTERLOCK_ROOT_KEY) with --roster",
        )
    return Trust.from_roster(roster.read_bytes(), read_root(root), now=datetime.now(UTC))
