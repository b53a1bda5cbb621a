"""The smallest HTTP/1.1 server that a generator can be measured against.

It answers every complete request with one constant answer and does nothing else, so that what a
calibration shows is the generator. Started as ``python -m loadtest.nullserver``; its first line of
output is the port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import cast

import httptools
import uvloop

_BODY = b'{"id":"0","decision":"approve","outputs":{"label":"good"}}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


class _Constant(asyncio.Protocol):
    def __init__(self, delay_s: float, answer: bytes) -> None:
        self._delay_s = delay_s
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_complete(self) -> None:
        if self._delay_s:
            asyncio.get_running_loop().call_later(
                self._delay_s, self._transport.write, self._answer
            )
        else:
            self._transport.write(self._answer)


async def _serve(delay_s: float, status: int) -> None:
    loop = asyncio.get_running_loop()
    answer = ANSWER.replace(b"200 OK", str(status).encode() + b" X") if status != 200 else ANSWER
    server = await loop.create_server(
        lambda: _Constant(delay_s, answer), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="loadtest.nullserver")
    parser.add_argument("--cpu", type=int, default=-1)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    flags = parser.parse_args()
    if flags.cpu >= 0:
        os.sched_setaffinity(0, {flags.cpu})
    try:
        uvloop.run(_serve(flags.delay_ms / 1000, flags.status))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
