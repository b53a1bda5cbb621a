"""What a router is told at start; read once in the command line, passed down."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from serving.limits import ModelSettings
from serving.tls import TlsSettings


class HttpSettings(Struct, frozen=True):
    """Bounds on what a connection may send and how slowly."""

    max_head_bytes: int = 32 << 10
    """Request line and headers."""
    max_body_bytes: int = 16 << 20
    """Body of one request, also after decompression."""
    head_timeout_s: float = 10.0
    """From the first byte of a request (or the connection's start) to the end of its headers."""
    body_timeout_s: float = 30.0
    """From the end of the headers to the end of the body."""
    idle_timeout_s: float = 75.0
    """Between requests on a kept-alive connection."""
    write_timeout_s: float = 30.0
    """How long a client may leave an answer unread."""
    write_buffer_bytes: int = 256 << 10
    """Unsent bytes at which a connection is no longer read."""
    max_connections: int = 20_000
    """Connections of one worker; more are closed at once."""
    drain_idle_ms: int = 1000
    """While draining, connections without a request in progress close after this."""
    drain_s: float = 10.0
    """While draining, requests in progress may take this long."""


class LimitSettings(Struct, frozen=True):
    """Bounds on work, per worker."""

    in_flight: int = 512
    """Requests in progress on the slow lane."""
    in_flight_per_key: int = 256
    """The same for one key."""
    streams: int = 16
    """Streams open at once."""
    shed_wait_ms: float = 250.0
    """Predicted wait at which requests are answered 503 instead of queued."""
    lease_ms: int = 250
    """Rate-limit tokens are leased from Redis for this long at a time."""


class RouterSettings(Struct, frozen=True):
    """One router node: N worker processes on one port."""

    artifact_store: str
    """Folder or URL that holds model packages."""
    home: Path
    """Local state: last good releases, packages fetched, metrics."""
    spool_dir: Path
    """Root of the audit spool; this node's segments go to ``spool_dir/node``."""
    root_key: str
    """Public root key: base64 of 32 bytes, or the path of a file that holds it."""
    bind: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    node: str = "node"
    """Name of this node; part of every segment's name."""
    database_url: str | None = None
    """PostgreSQL with the feed views; without it the router serves what is on its disk."""
    redis_url: str | None = None
    """Doorbell for changes, shared limits and idempotency."""
    subject_key: Path | None = None
    """Secret for ``subject_ref``; without it one is made in the home at the first start."""
    master_key: Path | None = None
    """Key that seals sensitive features; releases that have any are refused without it."""
    fastlane: bool = True
    """Answer predictions from parser callbacks; off sends them through the slow lane."""
    streams_apart: bool = True
    """Streams are served by a process of their own; without TLS."""
    poll_s: float = 1.0
    """How often the feed is read."""
    start_timeout_s: float = 20.0
    """How long a worker may take to become ready before it is replaced."""
    segment_bytes: int = 8 << 20
    spool_limit_bytes: int = 16 << 30
    """Bytes of segments on this node at which the spool counts as full."""
    flush_ms: int = 50
    """How often segments are forced to disk for endpoints of durability ``flush``."""
    slow_ms: int = 250
    """Requests slower than this are named in the log."""
    http: HttpSettings = HttpSettings()
    limits: LimitSettings = LimitSettings()
    models: ModelSettings = ModelSettings()
    """Memory of loaded models, and when they are scored off the event loop."""
    tls: TlsSettings | None = None
    open_metrics: bool = False
    """Serve metrics and metadata without a key beyond loopback too."""

    @property
    def cache_dir(self) -> Path:
        """Last good releases, keys and roster."""
        return self.home / "cache" / "router"

    @property
    def metrics_dir(self) -> Path:
        """Counter files of this node's workers."""
        return self.home / "run" / f"metrics-{self.node}"


def encode_settings(settings: RouterSettings) -> bytes:
    """Settings as JSON, for a worker process."""
    return msgspec.json.encode(settings, enc_hook=str)


def decode_settings(raw: bytes) -> RouterSettings:
    """Settings from a supervisor."""

    def to_path(kind: type, value: object) -> object:
        return kind(value)

    return msgspec.json.decode(raw, type=RouterSettings, dec_hook=to_path)
