"""Whether a release may be served: every proof is checked up to the root key, none is believed.

    root key -> roster -> releaser's signature over the content's digest
                       -> routing approval by someone who neither proposed nor edited it
                       -> per model: package digest, builder's signature, approval by someone
                          who did not contribute to it

The date of an approval is not judged here: it was judged at activation, and a restart must load
what was validly activated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from compiler.errors import AppError
from compiler.identity import Trust
from compiler.package import Manifest
from compiler.statements import (
    MODEL_APPROVAL,
    RELEASE,
    RELEASE_APPROVAL,
    ModelApproval,
    ReleaseApproval,
    ReleaseStatement,
    decode_statement,
)
from router.errors import ReleaseRefusedError
from router.release.spec import ModelRef, ReleaseBundle, ReleaseContent, digest, read_content

_decode_bundle = msgspec.msgpack.Decoder(ReleaseBundle).decode


def read_bundle(raw: bytes) -> ReleaseBundle:
    """A bundle from the feed or the disk.

    Raises:
        ReleaseRefusedError: damaged.
    """
    try:
        return _decode_bundle(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReleaseRefusedError(
            f"the bundle is damaged: {error}", code="release.damaged"
        ) from error


def verify_release(
    bundle: ReleaseBundle, trust: Trust, *, endpoint: str, number: int
) -> tuple[ReleaseContent, str]:
    """Content and digest of a release whose routing is signed and approved.

    Args:
        bundle: the release with its proofs.
        trust: the verified roster.
        endpoint: endpoint that the feed named.
        number: number that the feed named.

    Raises:
        ReleaseRefusedError: a proof is missing or wrong; the message names it.
    """
    content_digest = digest(bundle.content)
    try:
        content = read_content(bundle.content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReleaseRefusedError(
            f"the content is damaged: {error}", code="release.damaged"
        ) from error
    if (content.endpoint, content.number) != (endpoint, number):
        raise ReleaseRefusedError(
            f"expected release {number} of {endpoint!r}, got {content.number} of "
            f"{content.endpoint!r}",
            code="release.mismatch",
        )
    _verify_releaser(bundle.signature, trust, content, content_digest)
    _verify_routing_approval(bundle.approvals, trust, content, content_digest)
    return content, content_digest


def _verify_releaser(
    envelope: bytes, trust: Trust, content: ReleaseContent, content_digest: str
) -> None:
    try:
        payload, _ = trust.verify(envelope, RELEASE, "releaser")
        statement = decode_statement(payload, ReleaseStatement)
    except AppError as error:
        raise ReleaseRefusedError(
            f"the releaser's signature does not check out: {error.message}",
            code="release.signature",
        ) from error
    if statement != ReleaseStatement(content.endpoint, content.number, content_digest):
        raise ReleaseRefusedError(
            "the releaser signed another content than this one", code="release.signature"
        )


def _verify_routing_approval(
    envelopes: Iterable[bytes], trust: Trust, content: ReleaseContent, content_digest: str
) -> None:
    editors = {content.proposed_by, *content.editors}

    def check(envelope: bytes) -> str:
        payload, person = trust.verify(envelope, RELEASE_APPROVAL, "approver")
        statement = decode_statement(payload, ReleaseApproval)
        said = (statement.endpoint, statement.number, statement.content, statement.approver)
        if said != (content.endpoint, content.number, content_digest, person):
            return "it is about another content or person"
        if person in editors:
            return f"{person} edited or proposed the release"
        return ""

    _need_one(
        envelopes,
        check,
        "release.approval",
        "an approval of the routing by someone who did not edit it",
    )


def verify_model_approval(
    envelopes: Iterable[bytes], trust: Trust, model: ModelRef, manifest: Manifest
) -> None:
    """Refuse a model without an approval by someone who did not contribute to it.

    Raises:
        ReleaseRefusedError: none of the envelopes is one.
    """
    if (manifest.name, manifest.version) != (model.name, model.version):
        raise ReleaseRefusedError(
            f"expected package of {model.name} version {model.version}, got {manifest.name} "
            f"version {manifest.version}",
            code="release.package",
            at=model.name,
        )
    contributors = set(manifest.contributors)

    def check(envelope: bytes) -> str:
        payload, person = trust.verify(envelope, MODEL_APPROVAL, "approver")
        statement = decode_statement(payload, ModelApproval)
        about = (statement.package, statement.model, statement.version)
        if about != (model.package, model.name, model.version):
            return "it is about another model"
        if statement.approver != person:
            return f"it names {statement.approver} but {person} signed it"
        if person in contributors:
            return f"{person} contributed to the model"
        return ""

    _need_one(
        envelopes,
        check,
        "release.model_approval",
        f"an approval of {model.name} version {model.version} by someone who did not contribute",
    )


def _need_one(
    envelopes: Iterable[bytes], check: Callable[[bytes], str], code: str, wanted: str
) -> None:
    """Pass when one envelope has nothing against it, else say what each lacks."""
    reasons = []
    for envelope in envelopes:
        try:
            reason = check(envelope)
        except AppError as error:
            reason = error.message
        if not reason:
            return
        if reason not in reasons:
            reasons.append(reason)
    found = "; ".join(reasons) if reasons else "none"
    raise ReleaseRefusedError(f"expected {wanted}, got {found}", code=code)
