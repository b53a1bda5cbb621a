"""The release document: everything an endpoint needs, immutable, numbered and signed.

A release is published as a ``ReleaseBundle``: the canonical content, the releaser's signature over
its digest, the approval of the routing change, and per model the approval of its package. Routers
trust only the root key; the bundle carries all that is needed to check the rest.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from compiler.schema import FeatureMap, OutputSchema

FORMAT: Literal["interlock/release/v1"] = "interlock/release/v1"
MOST_PINNED = 8
"""Older releases that an endpoint may keep loaded: each holds its models in every worker."""


class ModelRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A model version that a release may route to."""

    name: str
    version: int
    package: str
    """``sha256:<hex>`` of the package's canonical manifest."""


class Policies(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How an endpoint treats requests, records and failures."""

    extra: Literal["reject", "ignore"] = "reject"
    """What happens to features the endpoint does not know."""
    input: Literal["strict", "lenient"] = "strict"
    durability: Literal["process", "flush", "strict", "shipped"] = "process"
    retention_class: str = "default"
    explain: Literal["off", "adverse", "sampled", "cheap", "all"] = "adverse"
    """Decisions that are explained near-line: none, the adverse ones, these and a sample of the
    others, these and all others while the model's explanations are cheap, all. Whatever the
    policy, a request may ask for its explanation, and any record can be explained later."""
    explain_share: float = 0.01
    """Share of the others that ``sampled`` explains."""
    explain_inline_us: int = 100
    """A request that asks gets its explanation in the answer where the model's costs at most this,
    measured when it is loaded; else, or with 0, near-line."""
    adverse_decisions: tuple[str, ...] = ("decline", "reject")
    """Decisions that are explained near-line without being asked for."""
    stream_evidence: Literal["records", "parts"] = "records"
    """What streams, and requests of many rows by the Open Inference Protocol, leave: a record per
    row, or a columnar part per few thousand rows or request. Rows of parts are found by subject;
    they are not explained near-line."""
    spool_full: Literal["shed", "drop_new"] = "shed"
    timeout_ms: int = 1000
    max_rows: int = 10_000
    safe_decision: str | None = None
    """Answered while the endpoint is suspended; ``None`` answers 503."""
    pinned_releases: Annotated[int, msgspec.Meta(ge=0, le=MOST_PINNED)] = 0
    """How many older releases stay loaded for callers that name one by its number. The active
    release's policy counts; with 0 a request is answered by the active release or not at all."""


class ReleaseContent(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is approved: one endpoint at one number.

    Attributes:
        endpoint: name in the URL; ``[a-z][a-z0-9_-]{0,62}``.
        number: release number, 1 upwards, never reused within the endpoint.
        features: union of the rule table's and the packages' features, in request order.
        output: the one output schema of all models.
        rules: routing table in its canonical JSON form (``interlock/rules/v1``).
        decision_table: optional table of kind ``decision``, same form.
        models: every model that a consequent names.
        policies: treatment of requests and records.
        owner: who answers for the endpoint.
        slo: e.g. ``{"p99_ms": 5, "availability": 0.999}``.
        justification: why this release exists.
        proposed_by: person who proposed it (e-mail).
        editors: everybody who edited the draft since the last release (e-mails).
        effective_from: RFC 3339 time, or None for at once.
        created_at: RFC 3339 time.
        order: names of ``features`` in request order (canonical JSON sorts mappings).
    """

    endpoint: str
    number: int
    features: FeatureMap
    output: OutputSchema
    rules: dict[str, Any]
    models: tuple[ModelRef, ...]
    decision_table: dict[str, Any] | None = None
    policies: Policies = Policies()
    owner: str = ""
    slo: dict[str, float] = {}
    justification: str = ""
    proposed_by: str = ""
    editors: tuple[str, ...] = ()
    effective_from: str | None = None
    created_at: str = ""
    order: tuple[str, ...] = ()
    format: Literal["interlock/release/v1"] = FORMAT


class ReleaseBundle(Struct, frozen=True, forbid_unknown_fields=True):
    """A release with its proofs, as stored in Postgres and on a router's disk.

    Attributes:
        content: canonical JSON of :class:`ReleaseContent`.
        signature: DSSE envelope (JSON) of the releaser over the release statement.
        approvals: DSSE envelopes (JSON) of routing approvals.
        model_approvals: DSSE envelopes (JSON) of model approvals, any order.
    """

    content: bytes
    signature: bytes
    approvals: tuple[bytes, ...]
    model_approvals: tuple[bytes, ...]


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(ReleaseContent)


def canonical(content: ReleaseContent) -> bytes:
    """Canonical JSON: sorted keys, no white space, UTF-8. The same content gives the same bytes."""
    if not content.order:
        content = msgspec.structs.replace(content, order=tuple(content.features))
    return _encoder.encode(content)


def read_content(raw: bytes) -> ReleaseContent:
    """Content from its canonical JSON, features in request order.

    Raises:
        msgspec.MsgspecError: not a release document, or an order of other features.
    """
    content = _decoder.decode(raw)
    if not content.order:
        return content
    if sorted(content.order) != sorted(content.features):
        raise msgspec.ValidationError("features and their order differ")
    features = {name: content.features[name] for name in content.order}
    return msgspec.structs.replace(content, features=features)


def digest(content: bytes) -> str:
    """``sha256:<hex>`` of canonical content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
