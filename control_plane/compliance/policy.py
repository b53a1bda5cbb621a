"""Policy and profiles, read from the data files of this package once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

from control_plane.compliance.schemas import Policy, Profile
from control_plane.errors import NotFoundError

_FOLDER = "control_plane.compliance"


@cache
def policy() -> Policy:
    """The twelve sections."""
    return msgspec.json.decode((files(_FOLDER) / "sections.json").read_bytes(), type=Policy)


@cache
def profiles() -> dict[str, Profile]:
    """Every profile by name."""
    folder = files(_FOLDER) / "profiles"
    found = [
        msgspec.json.decode(entry.read_bytes(), type=Profile)
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    ]
    return {profile.profile: profile for profile in sorted(found, key=lambda p: p.profile)}


def profile(name: str) -> Profile:
    """A profile by its name.

    Raises:
        NotFoundError: there is none.
    """
    found = profiles().get(name)
    if found is None:
        raise NotFoundError(
            f"there is no profile {name[:80]!r}",
            code="profile.unknown",
            hint=f"there are {', '.join(profiles())}",
        )
    return found


def items() -> dict[str, str]:
    """Title of each item by ``SECTION.ITEM``."""
    return {
        f"{section.key}.{item.key}": item.title
        for section in policy().sections
        for item in section.items
    }
