"""Settings of the processes in this package; built once from the environment by the front door."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

MIB = 1 << 20


class StoreSettings(Struct, frozen=True):
    """Where model packages and columnar parts live.

    Attributes:
        url: folder path or ``s3://bucket/prefix``.
    """

    url: str


class SpoolSettings(Struct, frozen=True):
    """A node's audit spool.

    Attributes:
        directory: root of the spool; segments are in ``directory/node``.
        node: name of this node, unique among all that share a database.
        segment_bytes: size of one segment file; each worker holds two.
        limit_bytes: quota of the node's spool.
        flush_ms: how often the ``flush`` level forces the spool to the disk.
    """

    directory: Path
    node: str
    segment_bytes: int = 8 * MIB
    limit_bytes: int = 16 * 1024 * MIB
    flush_ms: int = 50


class ShipperSettings(Struct, frozen=True):
    """The process that brings a node's segments to Postgres.

    Attributes:
        database_url: Postgres, as a role in ``interlock_shipper``.
        spool_dir: root of the spool.
        node: name of this node.
        artifact_store: where archived partitions and columnar parts live.
        ledger_key: private key that signs checkpoints; None leaves them unsigned.
        master_key: file with the key that wraps data keys of sensitive features.
        batch_rows: most rows in one transaction.
        batch_bytes: most payload bytes in one transaction.
        linger_ms: least time between transactions that are not full.
        poll_ms: pause between looks at the segments when nothing is new.
        deadline_s: hard limit for one transaction.
        backoff_max_s: longest pause between attempts while Postgres is away.
        drain_s: after SIGTERM, how long to go on shipping what is there.
        chain_every_s: pause between sequencing rounds.
        checkpoint_every_s: pause between signed checkpoints while the chain grows.
        partitions_ahead_days: days for which partitions are kept ready.
        spool_limit_bytes: quota of the node's spool, for the gauge of hours left.
    """

    database_url: str
    spool_dir: Path
    node: str
    artifact_store: str = ""
    ledger_key: Path | None = None
    master_key: Path | None = None
    batch_rows: int = 10_000
    batch_bytes: int = 8 * MIB
    linger_ms: int = 100
    poll_ms: int = 20
    deadline_s: float = 30.0
    backoff_max_s: float = 5.0
    drain_s: float = 20.0
    chain_every_s: float = 1.0
    checkpoint_every_s: float = 10.0
    partitions_ahead_days: int = 7
    spool_limit_bytes: int = 16 * 1024 * MIB


class ExplainerSettings(Struct, frozen=True):
    """The process that explains recorded decisions.

    Attributes:
        database_url: Postgres, as a role in ``interlock_explainer``.
        artifact_store: where packages live.
        home: folder for the cache of fetched packages.
        node: name of this node, for logs.
        batch_rows: most records explained in one transaction.
        poll_ms: pause between looks when nothing is new.
        deadline_s: hard limit for one statement.
        backoff_max_s: longest pause between attempts while Postgres is away.
        packages: explainers kept in memory.
        master_key: file with the key that wraps data keys of sensitive features.
        cheap_us: cost up to which endpoints of policy ``cheap`` have all decisions explained.
    """

    database_url: str
    artifact_store: str
    home: Path | None = None
    node: str = "node"
    batch_rows: int = 500
    poll_ms: int = 200
    deadline_s: float = 30.0
    backoff_max_s: float = 5.0
    packages: int = 32
    master_key: Path | None = None
    cheap_us: float = 2000.0
