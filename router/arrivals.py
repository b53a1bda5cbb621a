"""Connections that do not come through the loop's own listener: passed on, or waiting too long.

The loop takes one connection a turn. Under overload a turn is a good part of a second, so whoever
comes new would wait for minutes while others are answered; ``welcome`` takes all who wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from router.fastlane import FastLane

MOST = 512
"""Connections taken at once, beside those that the loop takes."""


class Arrivals:
    """Serves accepted sockets.

    Args:
        server: whose state the connections share.
        protocol: class of its connections.
        tls: context of the listener, None without.
    """

    def __init__(self, server: Any, protocol: type[FastLane], tls: Any = None) -> None:
        self._server = server
        self._protocol = protocol
        self._tls = tls
        self._taking: set[asyncio.Task[None]] = set()

    def take(self, connection: socket.socket, data: bytes = b"") -> None:
        """Serve a connection.

        Args:
            connection: accepted, not blocking.
            data: what another process has read from it.
        """
        server = self._server
        protocol = self._protocol(
            config=server.config, server_state=server.server_state, app_state={}
        )
        protocol.before = data

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            try:
                await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
            except OSError:  # the caller has gone, or does not speak TLS
                connection.close()

        running = asyncio.create_task(serve(), name="take")
        self._taking.add(running)
        running.add_done_callback(self._taking.discard)

    def welcome(self, listener: socket.socket) -> None:
        """Serve the connections that wait."""
        with contextlib.suppress(OSError):  # nobody waits, or no descriptors are left
            for _ in range(MOST):
                connection, _ = listener.accept()
                connection.setblocking(False)
                self.take(connection)
