"""Whether a job shares its machine with a router: asked before anything large is imported."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

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
