"""A pretend bank's releases for the data plane: real packages, signed and approved by real keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from compiler.package import read_package
from compiler.signing import KeyPair, sign
from compiler.statements import (
    MODEL_APPROVAL,
    RELEASE,
    RELEASE_APPROVAL,
    ModelApproval,
    ReleaseApproval,
    ReleaseStatement,
    encode_statement,
)
from router.keys import KeyRow, key_row
from router.release.disk import write_snapshot
from router.release.spec import (
    ModelRef,
    Policies,
    ReleaseBundle,
    ReleaseContent,
    canonical,
    digest,
)
from router.settings import RouterSettings
from tests.builders import (
    APPROVER_PERSON,
    EXPIRES,
    OUTPUT,
    applicant,
    german_credit,
    keys,
    roster_envelope,
    signed_package,
)

ISSUED = "2026-01-01T00:00:00Z"
ROUTING_KEY = "ilk_" + "a1b2c3d4" * 5
EDITOR = "mark@bank.example"
RULES = {
    "text": "IF credit_amount < 2000 AND duration_in_month <= 12 THEN quick_approval "
    "ELSE IF purpose = 'retraining' AND credit_amount > 1000 THEN REJECT 'not for this purpose' "
    "ELSE standard_underwriting"
}
DECISIONS = {
    "text": "IF output.probability.good >= 0.7 THEN approve "
    "ELSE IF output.probability.good >= 0.5 THEN refer ELSE decline"
}


def envelope(payload_type: str, statement: Any, key: KeyPair) -> bytes:
    return sign(payload_type, encode_statement(statement), key)


def approve_model(
    ref: ModelRef, key: KeyPair | None = None, person: str = APPROVER_PERSON
) -> bytes:
    approval = ModelApproval(
        ref.package, ref.name, ref.version, (), "one manager", person, ISSUED, EXPIRES
    )
    return envelope(MODEL_APPROVAL, approval, key or keys().approver)


def approve_release(content: ReleaseContent, key: KeyPair | None = None) -> bytes:
    approval = ReleaseApproval(
        content.endpoint,
        content.number,
        digest(canonical(content)),
        APPROVER_PERSON,
        ISSUED,
        EXPIRES,
    )
    return envelope(RELEASE_APPROVAL, approval, key or keys().approver)


def bundle_of(content: ReleaseContent) -> ReleaseBundle:
    raw = canonical(content)
    statement = ReleaseStatement(content.endpoint, content.number, digest(raw))
    return ReleaseBundle(
        raw,
        envelope(RELEASE, statement, keys().releaser),
        (approve_release(content),),
        tuple(approve_model(ref) for ref in content.models),
    )


def features() -> dict[str, Any]:
    known, _, _ = german_credit()
    return {name: each for name, each in known.items() if not each.protected}


def models(store: Path) -> tuple[ModelRef, ...]:
    """Two packages in a store: a logistic regression and a gradient boosting."""
    refs = []
    for name, estimator in (
        ("quick_approval", "logistic_regression"),
        ("standard_underwriting", "gradient_boosting"),
    ):
        signed = signed_package(store, estimator=estimator, name=name)
        refs.append(ModelRef(name, 1, signed.digest))
    return tuple(refs)


def credit(
    store: Path,
    *,
    number: int = 7,
    endpoint: str = "credit",
    policies: Policies | None = None,
    rules: dict[str, Any] | None = None,
    decisions: dict[str, Any] | None = DECISIONS,
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda known: known,
    **fields: Any,
) -> ReleaseContent:
    """The lending endpoint, with what a test wants different."""
    refs = models(store)
    for ref in refs:
        read_package(store / "packages" / ref.package.removeprefix("sha256:"), expected_digest=None)
    given = {"proposed_by": EDITOR, "editors": (EDITOR,), "created_at": ISSUED, **fields}
    return ReleaseContent(
        endpoint=endpoint,
        number=number,
        features=change(features()),
        output=OUTPUT,
        rules=RULES if rules is None else rules,
        models=refs,
        decision_table=decisions,
        policies=policies or Policies(),
        **given,
    )


def row(index: int = 0, **changes: Any) -> dict[str, Any]:
    """Features of one application."""
    return {**applicant(index, model_only=True), **changes}


def body(index: int = 0, **fields: Any) -> bytes:
    """A whole request."""
    changes = fields.pop("change", {})
    return msgspec.json.encode({"features": row(index, **changes), **fields})


def settings_for(home: Path, **fields: Any) -> RouterSettings:
    """Settings of a router without any database."""
    given: dict[str, Any] = {
        "artifact_store": str(home / "artifacts"),
        "home": home,
        "spool_dir": home / "spool",
        "root_key": root_key(),
        "port": 0,
        "node": "test",
        "segment_bytes": 1 << 20,
        **fields,
    }
    return RouterSettings(**given)


def root_key() -> str:
    import base64

    return base64.b64encode(keys().root.public).decode()


def routing_key(endpoints: Iterable[str] = ("credit",), **fields: Any) -> KeyRow:
    return key_row("key-1", ROUTING_KEY, endpoints, **fields)


def publish(
    home: Path, contents: Iterable[ReleaseContent] | None = None, rows: Iterable[KeyRow] = ()
) -> None:
    """The node's local copy, as the feed would have left it."""
    if contents is None:
        contents = (credit(home / "artifacts"),)
    write_snapshot(
        home / "cache" / "router",
        [bundle_of(content) for content in contents],
        tuple(rows) or (routing_key(),),
        roster_envelope(),
        roster_version=1,
    )
