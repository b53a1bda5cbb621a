"""The environment, read once and checked, then handed down as structs.

``python -m interlock.settings`` prints the table that stands in the README.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from compiler.errors import AppError
from interlock.home import Home, default_home
from interlock.variables import table
from serving.tls import TlsSettings

if TYPE_CHECKING:
    from control_plane.settings import ControlSettings, WorkerSettings
    from router.settings import RouterSettings
    from serving.settings import ExplainerSettings, ShipperSettings


class SettingsError(AppError):
    """An environment variable has a value that cannot be used."""

    code = "settings.invalid"


class Environment(Struct, frozen=True):
    """What the environment says, checked; one field per variable."""

    home: Home
    database_url: str | None
    redis_url: str | None
    artifact_store: str
    bind: str
    port: int
    control_port: int
    workers: int
    node: str
    fastlane: bool
    root_key: str
    roster: Path
    releaser_key: Path
    builder_key: Path
    ledger_key: Path
    subject_key: Path
    master_key: Path
    bootstrap_token: Path
    spool: Path
    model_memory_mb: int
    tls: TlsSettings | None = None

    def need_database(self) -> str:
        """The database URL.

        Raises:
            SettingsError: there is none.
        """
        if self.database_url is None:
            raise SettingsError(
                f"no DATABASE_URL, and no stack was started in {self.home.path}",
                code="settings.no_database",
                hint="set DATABASE_URL, or give the home of a running stack with --home",
            )
        return self.database_url


def read_environment(
    environ: Mapping[str, str] | None = None, *, home: Path | None = None, role: str = ""
) -> Environment:
    """The environment as a struct.

    Args:
        environ: variables; the process's own when None.
        home: goes before ``INTERLOCK_HOME``.
        role: process role whose login is taken when the home has an embedded database.

    Raises:
        SettingsError: a value cannot be used.
    """
    env = os.environ if environ is None else environ
    found = Home((home or Path(env.get("INTERLOCK_HOME") or default_home())).expanduser().resolve())
    database_url, redis_url = env.get("DATABASE_URL") or None, env.get("REDIS_URL") or None
    if role and (found.secrets / "db.json").exists():
        from interlock.stack.database import embedded_urls

        urls = embedded_urls(found, role)
        database_url, redis_url = database_url or urls[0], redis_url or urls[1]

    def secret(name: str, file: str) -> Path:
        given = env.get(name)
        if not given:
            return found.secrets / file
        path = Path(given).expanduser()
        if not path.is_file():  # going on with another key would be found out much later
            raise SettingsError(f"there is no file {path}", code="settings.no_file", at=name)
        return path

    return Environment(
        home=found,
        database_url=database_url,
        redis_url=redis_url,
        artifact_store=env.get("ARTIFACT_STORE") or str(found.artifacts),
        bind=env.get("INTERLOCK_BIND") or "127.0.0.1",
        port=_whole(env, "INTERLOCK_PORT", 8080, 1, 65535),
        control_port=_whole(env, "INTERLOCK_CONTROL_PORT", 8081, 1, 65535),
        workers=_whole(env, "INTERLOCK_WORKERS", min(2, os.cpu_count() or 1), 1, 1024),
        node=env.get("INTERLOCK_NODE") or socket.gethostname(),
        fastlane=_flag(env, "INTERLOCK_FASTLANE", default=True),
        root_key=env.get("INTERLOCK_ROOT_KEY") or str(found.secrets / "root.pub"),
        roster=secret("INTERLOCK_ROSTER", "roster.json"),
        releaser_key=secret("INTERLOCK_RELEASER_KEY", "releaser.key"),
        builder_key=secret("INTERLOCK_BUILDER_KEY", "builder.key"),
        ledger_key=secret("INTERLOCK_LEDGER_KEY", "ledger.key"),
        subject_key=secret("INTERLOCK_SUBJECT_KEY", "subject.key"),
        master_key=secret("INTERLOCK_MASTER_KEY", "master.key"),
        bootstrap_token=secret("INTERLOCK_BOOTSTRAP_TOKEN", "bootstrap.token"),
        spool=Path(env.get("INTERLOCK_SPOOL") or found.spool).expanduser(),
        model_memory_mb=_whole(env, "INTERLOCK_MODEL_MEMORY_MB", 4096, 1, 1 << 24),
        tls=_tls(env),
    )


def _tls(env: Mapping[str, str]) -> TlsSettings | None:
    """Files of TLS; None when there are none."""
    names = ("INTERLOCK_TLS_CERTIFICATE", "INTERLOCK_TLS_KEY", "INTERLOCK_TLS_CLIENT_CA")
    certificate, key, authority = (env.get(name) for name in names)
    if not (certificate or key or authority):
        return None
    for name, given in zip(names[:2], (certificate, key), strict=True):
        if not given:  # plain HTTP where TLS was meant would be found out much too late
            raise SettingsError("expected the certificate and its key, got only one", at=name)
    assert certificate
    assert key
    found = (Path(certificate).expanduser(), Path(key).expanduser())
    return TlsSettings(*found, Path(authority).expanduser() if authority else None)


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise SettingsError(f"expected a whole number from {low} to {high}, got {text!r}", at=name)
    return int(text)


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name)
    if not text:
        return default
    if text not in ("0", "1"):
        raise SettingsError(f"expected 0 or 1, got {text!r}", at=name)
    return text == "1"


def router_settings(env: Environment) -> RouterSettings:
    """Settings of ``interlock router``; a database and Redis are optional."""
    from router.settings import RouterSettings
    from serving.limits import ModelSettings

    return RouterSettings(
        bind=env.bind,
        port=env.port,
        workers=env.workers,
        database_url=env.database_url,
        redis_url=env.redis_url,
        artifact_store=env.artifact_store,
        home=env.home.path,
        spool_dir=env.spool,
        node=env.node,
        root_key=env.root_key,
        subject_key=env.subject_key if env.subject_key.exists() else None,
        master_key=env.master_key if env.master_key.exists() else None,
        fastlane=env.fastlane,
        models=ModelSettings(memory_bytes=env.model_memory_mb << 20),
        tls=env.tls,
    )


def control_settings(env: Environment) -> ControlSettings:
    """Settings of ``interlock control-plane``."""
    from control_plane.settings import ControlSettings

    return ControlSettings(
        database_url=env.need_database(),
        artifact_store=env.artifact_store,
        home=env.home.path,
        root_key=env.root_key,
        releaser_key=env.releaser_key,
        bootstrap_token_file=env.bootstrap_token,
        bind=env.bind,
        port=env.control_port,
        redis_url=env.redis_url,
        roster_file=env.roster if env.roster.exists() else None,
        master_key=env.master_key if env.master_key.exists() else None,
        subject_key=env.subject_key,
        tls=env.tls,
    )


def worker_settings(env: Environment) -> WorkerSettings:
    """Settings of ``interlock worker``."""
    from control_plane.settings import WorkerSettings

    return WorkerSettings(
        database_url=env.need_database(),
        artifact_store=env.artifact_store,
        home=env.home.path,
        builder_key=env.builder_key,
        redis_url=env.redis_url,
        master_key=env.master_key if env.master_key.exists() else None,
    )


def shipper_settings(env: Environment) -> ShipperSettings:
    """Settings of ``interlock shipper``."""
    from serving.settings import ShipperSettings

    return ShipperSettings(
        database_url=env.need_database(),
        spool_dir=env.spool,
        node=env.node,
        artifact_store=env.artifact_store,
        ledger_key=env.ledger_key if env.ledger_key.exists() else None,
        master_key=env.master_key if env.master_key.exists() else None,
    )


def explainer_settings(env: Environment) -> ExplainerSettings:
    """Settings of ``interlock explainer``."""
    from serving.settings import ExplainerSettings

    return ExplainerSettings(
        database_url=env.need_database(),
        artifact_store=env.artifact_store,
        home=env.home.path,
        node=env.node,
        master_key=env.master_key if env.master_key.exists() else None,
    )


if __name__ == "__main__":
    print(table())
