"""Entry of a worker process: ``python -m router.worker "interlock router" NUMBER APART FDS...``.

Settings come through a pipe, the socket by inheritance; readiness goes back through another pipe.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys

from serving.lifeline import die_with

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the runtime is imported

READY = b"R"
EXIT_START = 3


def main(arguments: list[str]) -> int:
    """Run one worker; returns the exit status."""
    _, number, apart, settings_fd, listener_fd, ready_fd, link_fd, parent = arguments
    die_with(int(parent), signal.SIGTERM)  # it drains: nobody would restart it
    raise_file_limit()
    if apart == "1":
        from serving.priority import take_leftovers

        take_leftovers()  # before anything is imported: all threads inherit it
    from router.settings import decode_settings

    with os.fdopen(int(settings_fd), "rb") as file:
        settings = decode_settings(file.read())
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    listener = socket.socket(fileno=int(listener_fd))
    link = socket.socket(fileno=int(link_fd)) if int(link_fd) >= 0 else None
    from compiler.errors import AppError
    from router.lifecycle import Worker

    def ready() -> None:
        os.write(int(ready_fd), READY)
        os.close(int(ready_fd))

    async def serve() -> None:
        await Worker(settings, int(number), listener, link, apart=apart == "1").run(ready)

    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except AppError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_START
    return 0


def raise_file_limit() -> None:
    """As many open files as the system allows: a connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
