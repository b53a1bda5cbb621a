"""What the control plane and the job worker are told at start; read once, passed down."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from serving.tls import TlsSettings


class PoolSettings(Struct, frozen=True):
    """Connections to PostgreSQL."""

    database_url: str
    min_size: int = 1
    """Connections kept open."""
    max_size: int = 10
    """Connections at most; more callers wait."""
    acquire_s: float = 5.0
    """Longest wait for a free connection."""
    deadline_s: float = 15.0
    """Longest time one unit of work may hold a connection; enforced outside the driver."""
    connect_s: float = 5.0
    """Longest time to open a connection."""


class LoginSettings(Struct, frozen=True):
    """Passwords, sessions and what happens to those who guess."""

    session_hours: float = 12.0
    """A session ends this long after login."""
    min_password: int = 12
    """Shortest password, in characters."""
    free_attempts: int = 5
    """Failed logins of one e-mail in the window before it is locked out."""
    window_s: int = 900
    """How far back failed logins count."""
    address_attempts: int = 50
    """Failed logins from one address in the window before it is refused."""


class ControlSettings(Struct, frozen=True):
    """One control-plane process."""

    database_url: str
    artifact_store: str
    """Folder or URL that holds model packages."""
    home: Path
    """Folder for secrets and local state."""
    root_key: str
    """Public root key: base64 of 32 bytes, or the path of a file that holds it."""
    releaser_key: Path
    """Private key that signs releases, kept by this process."""
    bootstrap_token_file: Path
    """File with the one-time token of the first superadmin."""
    bind: str = "127.0.0.1"
    port: int = 8081
    redis_url: str | None = None
    """Doorbell for routers; without it they notice changes at their next poll."""
    roster_file: Path | None = None
    """Roster envelope loaded at start when it is newer than the stored one."""
    master_key: Path | None = None
    """Key that protects connection secrets at rest."""
    subject_key: Path | None = None
    """Secret for looking up a subject's records; default ``secrets/subject.key`` in the home."""
    login: LoginSettings = LoginSettings()
    tls: TlsSettings | None = None
    """TLS on the port; plain HTTP without it."""
    approval_days: int = 365
    """How long an approval may be used for an activation."""
    max_body_bytes: int = 4 << 20
    """Largest request body of the routes that do not set their own."""
    pool_size: int = 10
    """Connections to PostgreSQL at most."""


class WorkerSettings(Struct, frozen=True):
    """One job-worker process."""

    database_url: str
    artifact_store: str
    home: Path
    builder_key: Path
    """Private key that signs packages built here."""
    redis_url: str | None = None
    name: str = ""
    """Shown in the job list; default host and process id."""
    master_key: Path | None = None
    """Key that opens connection secrets; without it databases cannot be imported from."""
    lease_s: int = 15
    """A job whose worker is silent this long is taken over."""
    poll_s: float = 1.0
    """How often the queue is looked at when nobody rings."""
