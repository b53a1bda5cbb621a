"""Serve the control plane: one process, one event loop, an orderly stop, exit status 0."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from typing import TYPE_CHECKING

import uvicorn

from control_plane.app import build_app
from control_plane.errors import SetupError
from serving.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from control_plane.settings import ControlSettings

_log = logging.getLogger(__name__)

TLS_CHECK_S = 1.0
"""How often the files of TLS are looked at."""
GRACE_S = 10
"""How long requests in progress may take after SIGTERM."""


class Server(uvicorn.Server):
    """The server of uvicorn without its signal handling.

    It raises the signal again inside ``serve``: nothing after it would run, and the exit status
    would not be 0.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to :func:`run`."""
        yield


def run(settings: ControlSettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in progress.

    Raises:
        SetupError: a part could not start.
        TlsError: its files cannot be used.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: ControlSettings) -> None:
    config = uvicorn.Config(
        build_app(settings),
        host=settings.bind,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    config.load()
    # Everything that stays is loaded: a full collection over it took 80 ms, in which nobody is
    # answered. Set aside, what is left to look at takes one or two.
    gc.collect()
    gc.freeze()
    server = Server(config)
    watch: asyncio.Task[None] | None = None
    if settings.tls is not None:
        tls = Tls(settings.tls)
        config.ssl = tls.context
        watch = asyncio.create_task(_refresh(tls), name="tls")

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await server.serve()
    except SystemExit as error:  # uvicorn's word for a port in use or a start that failed
        raise SetupError(
            f"the control plane could not start on {settings.bind}:{settings.port}",
            code="control_plane.start",
            hint="the log above names the reason; is the port in use?",
        ) from error
    finally:
        if watch is not None:
            watch.cancel()
    if server.lifespan.should_exit:
        raise SetupError(
            f"the control plane could not start on {settings.bind}:{settings.port}",
            code="control_plane.start",
            hint="the log above names the reason",
        )


async def _refresh(tls: Tls) -> None:
    """Take renewed certificates from the next handshake on."""
    while True:
        await asyncio.sleep(TLS_CHECK_S)
        tls.refresh()
