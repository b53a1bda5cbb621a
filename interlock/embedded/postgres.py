"""A real PostgreSQL below the home: created once, run as a foreground child of ours.

No client-server wrapper is used: the data folder is made by ``initdb`` with password
authentication, the server listens on a unix socket only, and it ends with us.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from interlock.child import process
from interlock.child.identity import Identity, give, unprivileged
from interlock.embedded.binaries import postgres_install, postgres_major, reachable_install
from interlock.embedded.errors import EmbeddedError, ForeignVersionError
from interlock.embedded.folders import prepare_home, server_folder, socket_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUPERUSER = "postgres"
PORT = 5432
"""Part of the socket's name; nothing listens on TCP."""

SETTINGS: dict[str, str] = {
    "listen_addresses": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",  # compiling a short query costs more than running it
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
FAST_AND_LOSSY: dict[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}
"""For tests: data that a power cut may take."""

PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
"""Variables that reach the server; the caller's ``PG*`` and locale do not."""


class EmbeddedPostgres:
    """The database server of one home.

    Args:
        home: folder of the stack; data in ``home/postgres``, socket in ``home/run``.
        password: of the superuser; used by the first start to create the data folder.
        settings: server settings that differ from :data:`SETTINGS`.
    """

    def __init__(
        self, home: Path, *, password: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.data = home / "postgres"
        self.password = password
        self.settings = {**SETTINGS, **(settings or {})}
        self.identity: Identity | None = unprivileged()
        self._sockets: Path | None = None
        self._install: Path | None = None

    @property
    def sockets(self) -> Path:
        """Folder of the server's socket."""
        if self._sockets is None:
            self._sockets = socket_folder(self.home, self.identity)
        return self._sockets

    @property
    def install(self) -> Path:
        """Installation that the servers' user can reach."""
        if self._install is None:
            copies = self.home / "bin"
            self._install = reachable_install(postgres_install(), self.identity, copies)
        return self._install

    def url(self, *, user: str = SUPERUSER, password: str = "", database: str = "postgres") -> str:
        """Connection URL over the unix socket."""
        secret = quote(password or self.password, safe="")
        host = quote(str(self.sockets), safe="")
        return f"postgresql://{quote(user)}:{secret}@/{quote(database)}?host={host}&port={PORT}"

    def prepare(self) -> bool:
        """Make ready to start: create the data folder on the first call; True when it was created.

        Raises:
            HomeError: the home cannot be used.
            ForeignVersionError: the data was written by another version.
            EmbeddedError: ``initdb`` failed.
        """
        prepare_home(self.home, self.identity)
        version = self.data / "PG_VERSION"
        if not version.exists():
            self._create()
            return True
        ours, found = postgres_major(self.install), version.read_text().strip()
        if found != ours:
            raise ForeignVersionError(
                f"the data in {self.data} was written by PostgreSQL {found}, this one is {ours}",
                at=str(self.data),
                hint=f"start once with the interlock that wrote it and dump the data, or move "
                f"{self.data} away to begin anew",
            )
        return False

    def _create(self) -> None:
        """Run ``initdb`` beside the final place and rename, so that no half folder is believed."""
        partial = self.home / "postgres.new"
        if partial.exists():
            shutil.rmtree(partial)
        server_folder(partial, self.identity)
        with tempfile.NamedTemporaryFile("w", dir=self.sockets, prefix="pw-") as secret:
            secret.write(self.password + "\n")
            secret.flush()
            give(Path(secret.name), self.identity)
            words = [str(self.install / "bin" / "initdb"), "--pgdata", str(partial)]
            words += ["--username", SUPERUSER, "--pwfile", secret.name, "--no-instructions"]
            words += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]
            words += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
            if self.settings.get("fsync") == "off":
                words.append("--no-sync")
            child = process.start(
                words,
                identity=self.identity,
                env=self.environment(),
                death_signal=signal.SIGKILL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.sockets,
            )
            output, _ = child.communicate()
        if child.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise EmbeddedError(
                f"initdb ended with status {child.returncode}",
                at=str(self.data),
                hint=output.decode(errors="replace").strip()[-1500:],
            )
        partial.rename(self.data)

    def command(self) -> Sequence[str]:
        """Command line of the server in the foreground."""
        settings = {**self.settings, "unix_socket_directories": str(self.sockets)}
        words = [str(self.install / "bin" / "postgres"), "-D", str(self.data), "-p", str(PORT)]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        return words

    def environment(self) -> dict[str, str]:
        """Environment of the server."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {**kept, "LC_ALL": "C", "TZ": "UTC"}

    def ready(self, pid: int) -> bool:
        """Whether the server with this process id accepts connections.

        Reads the status line that the server keeps in ``postmaster.pid``; the process id is
        compared, because a file left by a killed server says ready too.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def wait_for_previous(self, timeout_s: float = 10.0) -> None:
        """Wait until a server that lost its supervisor has ended; it was told to when it did.

        Raises:
            EmbeddedError: it is still there.
        """
        deadline = time.monotonic() + timeout_s
        while (pid := self._running_pid()) is not None:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"another PostgreSQL (process {pid}) still runs on {self.data}",
                    at=str(self.data),
                    hint=f"stop it with: kill -INT {pid}",
                )
            time.sleep(0.02)

    def _running_pid(self) -> int | None:
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.data) in words else None


def new_password() -> str:
    """A password that no one has to type."""
    return secrets.token_urlsafe(24)
