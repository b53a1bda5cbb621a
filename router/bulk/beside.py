"""Whether a job shares its machine with a router, and what it does then."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from serving.priority import take_leftovers

if TYPE_CHECKING:
    from router.settings import RouterSettings

CONNECT_S = 0.2


def serves(settings: RouterSettings) -> bool:
    """Whether a router answers on this machine's data port."""
    try:
        with socket.create_connection((settings.bind, settings.port), CONNECT_S):
            return True
    except OSError:
        return False


def stand_back(settings: RouterSettings) -> None:
    """Run only when nobody else wants the core, where a router serves.

    Before anything large is imported or loaded: that alone is a second of work.
    """
    if serves(settings):
        take_leftovers()
