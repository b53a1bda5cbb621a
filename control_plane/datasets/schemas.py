"""What a dataset, a snapshot and its profile look like."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from compiler.schema import FeatureMap, OutputSchema, Task

FORMAT: Literal["interlock/snapshot/v1"] = "interlock/snapshot/v1"


class Declaration(Struct, frozen=True, forbid_unknown_fields=True):
    """What people say about their data before the first row is read.

    Attributes:
        name: of the dataset; ``[a-z][a-z0-9_-]{0,62}``.
        task: what is to be learnt.
        target: column with the answer; none for clustering.
        positive: class that metrics speak of; the last one in order by default.
        favourable: class that is good for the person it is about: reasons and fairness rates speak
            of it; the last one in order by default.
        protected: columns with protected attributes or close proxies: out of models and rules.
        sensitive: columns that are encrypted in audit records.
        ignore: columns that are not features, such as row numbers.
        missing: words that mean MISSING besides the empty cell.
        source: where the data comes from.
        licence: what allows its use.
    """

    name: str
    task: Task
    source: str
    licence: str
    target: str | None = None
    positive: str | None = None
    favourable: str | None = None
    protected: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Finding(Struct, frozen=True):
    """Something about the data that people should know, with its reason and a remedy."""

    code: str
    level: Literal["error", "warning", "note"]
    column: str
    message: str
    hint: str = ""


class ColumnProfile(Struct, frozen=True, omit_defaults=True):
    """What one column holds.

    Attributes:
        role: feature, target, or excluded from training.
        source_name: the name in the source, when it had to be changed.
        type: of the feature.
        missing: rows without a value.
        distinct: different values, or None when there are more than were counted.
        categories: (value, rows) of the most frequent values, for words.
        minimum: smallest value, for numbers; dates as ISO text.
        edges: histogram edges, for numbers; one more than ``counts``.
        counts: rows per histogram bin.
    """

    name: str
    role: Literal["feature", "target", "excluded"]
    type: str
    missing: int
    source_name: str = ""
    distinct: int | None = None
    categories: tuple[tuple[str, int], ...] = ()
    minimum: float | str | None = None
    maximum: float | str | None = None
    mean: float | None = None
    deviation: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    protected: bool = False
    sensitive: bool = False


class DataFile(Struct, frozen=True):
    """The rows of a snapshot."""

    name: str
    sha256: str
    bytes: int


class SnapshotManifest(Struct, frozen=True):
    """The document whose digest names a snapshot; it says nothing about when or by whom.

    Attributes:
        features: schema of every feature, protected ones included, without the target.
        excluded: columns kept in the data but not offered to models, with the reason.
        output: what a model of this data answers.
    """

    dataset: str
    task: Task
    target: str | None
    positive: str | None
    favourable: str | None
    rows: int
    features: FeatureMap
    excluded: dict[str, str]
    output: OutputSchema
    data: DataFile
    source: str
    licence: str
    format: Literal["interlock/snapshot/v1"] = FORMAT


class Ingested(Struct, frozen=True):
    """The outcome of an ingest, before it is registered."""

    digest: str
    manifest: SnapshotManifest
    profile: tuple[ColumnProfile, ...]
    findings: tuple[Finding, ...]


class Dataset(Struct, frozen=True):
    """A registered dataset."""

    name: str
    task: Task
    target: str | None
    positive: str | None
    favourable: str | None
    protected: list[str]
    sensitive: list[str]
    ignore: list[str]
    missing: list[str]
    source: str
    licence: str
    created_by: str
    created_at: datetime
    snapshots: int = 0


class Snapshot(Struct, frozen=True):
    """A registered snapshot."""

    dataset: str
    number: int
    digest: str
    rows: int
    features: FeatureMap
    output: OutputSchema
    profile: list[ColumnProfile]
    findings: list[Finding]
    origin: dict[str, Any]
    created_by: str
    created_at: datetime


class SnapshotRow(Struct, frozen=True):
    """A snapshot in a list; ``findings`` counts them."""

    number: int
    digest: str
    rows: int
    origin: dict[str, Any]
    created_by: str
    created_at: datetime
    findings: int


class SnapshotAnswer(Struct, frozen=True):
    """What an upload answers.

    Attributes:
        snapshot: its digest.
        new: False when the same content had been uploaded before.
    """

    snapshot: str
    dataset: str
    number: int
    rows: int
    features: FeatureMap
    output: OutputSchema
    findings: list[Finding]
    new: bool
