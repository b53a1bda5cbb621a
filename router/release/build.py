"""From a verified release to an endpoint that answers: compile, load, bind. Runs off the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.identity import Trust
from compiler.package import Package, read_package, verify_signature
from compiler.rules import ast
from compiler.rules.compiled import CompiledRules
from compiler.rules.pipeline import compile_rules
from compiler.rules.splits import arm_chooser
from compiler.schema import FeatureMap
from compiler.schema_decode import applied_defaults, features_struct, own_features
from router.arms import Arm, Split
from router.desk import tail_of
from router.endpoint import Decided, Decoders, Endpoint
from router.errors import ReleaseRefusedError
from router.heavy import Heavy
from router.outputs import output_encoder
from router.release.disk import FeedRelease
from router.release.spec import ModelRef, ReleaseContent
from router.release.verify import read_bundle, verify_model_approval, verify_release
from router.wire.v2_known import Known
from router.wire.v2_shapes import v2_plan
from serving.batching.batcher import MicroBatcher
from serving.explain.inline import inline_explainer
from serving.limits import INLINE_LIMIT_US
from serving.registry import MemoryLimitError

INLINE_COST_US = INLINE_LIMIT_US
"""Models above this are not scored on the event loop, unless the node says otherwise."""


class Model(Protocol):
    """What this package needs of a loaded model."""

    name: str
    version: int
    cost_us: float

    def bind(self, struct_type: Any) -> Callable[[Any], tuple[Any, ...]]:
        """Scorer of one decoded features struct."""
        ...

    def bind_rows(self, struct_type: Any) -> Callable[[Sequence[Any]], NDArray[np.float32]]:
        """Lowered rows of several decoded features structs."""
        ...

    def batcher(self) -> MicroBatcher:
        """What scores its lowered rows off the event loop; one for all endpoints."""
        ...


class Loader(Protocol):
    """Where loaded models come from.

    Attributes:
        inline_us: models that cost more are scored off the event loop.
    """

    inline_us: float

    def fetch(self, package: str) -> Path:
        """Local folder of a package."""
        ...

    def load(self, package: Package, builder: str) -> Any:
        """The model of a verified package, warm."""
        ...


def build_endpoint(release: FeedRelease, trust: Trust, loader: Loader) -> Endpoint:
    """The endpoint of a release whose every proof checks out.

    Raises:
        ReleaseRefusedError: something does not; the message names it.
    """
    bundle = read_bundle(release.bundle)
    content, content_digest = verify_release(
        bundle, trust, endpoint=release.endpoint, number=release.number
    )
    if content_digest != release.digest:
        raise ReleaseRefusedError(
            f"expected content {release.digest}, got {content_digest}", code="release.digest"
        )
    models: dict[str, Any] = {}
    for ref in content.models:
        try:
            models[ref.name] = _load(ref, bundle.model_approvals, trust, loader)
        except ReleaseRefusedError:
            raise
        except (AppError, OSError) as error:
            detail = error.message if isinstance(error, AppError) else str(error)
            raise ReleaseRefusedError(
                f"model {ref.name} version {ref.version}: {detail}",
                code=error.code if isinstance(error, MemoryLimitError) else "release.model",
                at=ref.package,
            ) from error
    return assemble(
        content,
        content_digest,
        models,
        release.activation,
        release.suspended,
        inline_us=loader.inline_us,
    )


def _load(ref: ModelRef, approvals: tuple[bytes, ...], trust: Trust, loader: Loader) -> Any:
    folder = loader.fetch(ref.package)
    package = read_package(folder, expected_digest=ref.package)
    builder = verify_signature(package, trust)
    verify_model_approval(approvals, trust, ref, package.manifest)
    return loader.load(package, builder)


def assemble(
    content: ReleaseContent,
    digest: str,
    models: Mapping[str, Any],
    activation: int = 0,
    suspended: bool = False,
    *,
    inline_us: float = INLINE_COST_US,
) -> Endpoint:
    """Compile the tables of a release and bind them to its models.

    Args:
        content: the verified document.
        digest: its digest.
        models: loaded, by name.
        activation: that made it current.
        suspended: only the safe answer is given.
        inline_us: models that cost more are scored off the event loop.

    Raises:
        ReleaseRefusedError: the tables do not compile, or name what the release does not hold.
    """
    try:
        routing = compile_rules(content.rules, features=content.features, output=content.output)
        deciding = (
            compile_rules(
                content.decision_table,
                features=content.features,
                output=content.output,
                kind="decision",
            )
            if content.decision_table is not None
            else None
        )
    except AppError as error:
        raise ReleaseRefusedError(
            f"the rule table does not compile: {error.message}", code="release.rules", at=error.at
        ) from error
    plain = _decoders(content.features, context=False)
    context = _decoders(content.features, context=True)
    versions = {ref.name: ref for ref in content.models}
    scorers = {name: model.bind(plain.struct) for name, model in models.items()}
    limit_us = content.policies.explain_inline_us
    explain = {name: inline_explainer(model, limit_us) for name, model in models.items()}
    heavy = {
        name: Heavy(model.bind_rows(plain.struct), model.batcher())
        for name, model in models.items()
        if model.cost_us > inline_us
    }

    def model_arm(rule: str, name: str, version: int | None, arm: str = "") -> Arm:
        ref = versions.get(name)
        if ref is None or (version is not None and version != ref.version):
            raise ReleaseRefusedError(
                f"rule {rule!r} names model {name!r} version {version or 'any'}, which the release "
                "does not hold",
                code="release.models",
            )
        return Arm(
            rule,
            model=name,
            version=ref.version,
            package=ref.package,
            score=scorers[name],
            heavy=heavy.get(name),
            explain=explain[name],
            name=arm,
        )

    arms = tuple(
        _arm(rule, leaf, model_arm)
        for rule, leaf in zip(routing.ids, routing.consequents, strict=True)
    )
    for arm in arms:
        for each in (arm,) if isinstance(arm, Arm) else arm.arms:
            each.bind_head(content.endpoint, content.number)
    durability, plan = content.policies.durability, v2_plan(content)
    return Endpoint(
        content=content,
        digest=digest,
        activation=activation,
        suspended=suspended,
        plain=plain,
        context=context,
        route=routing.scalar("struct"),
        route_unknowns=routing.unknowns if routing.may_be_unknown else None,
        arms=arms,
        rule_ids=tuple(routing.ids),
        decide=deciding.scalar("struct") if deciding else None,
        decision_unknowns=deciding.unknowns if deciding and deciding.may_be_unknown else None,
        decided=_decisions(deciding, content),
        rejected=lambda reason: tail_of("reject", None, durability, reason),
        encode_outputs=output_encoder(content.output),
        models=models,
        v2=plan,
        known=Known(content, plan),
        routing=routing,
        deciding=deciding,
        inline=not heavy,
        readers=_readers(routing, deciding),
    )


def _readers(*tables: CompiledRules | None) -> dict[str, tuple[str, ...]]:
    """Ids of the rules of all tables that test each feature."""
    found: dict[str, tuple[str, ...]] = {}
    for table in tables:
        for name, rules in table.readers().items() if table else ():
            found[name] = found.get(name, ()) + rules
    return found


def _arm(rule: str, leaf: Any, model_arm: Callable[..., Arm]) -> Arm | Split:
    """What a consequent does."""
    match leaf:
        case ast.ModelConsequent():
            return model_arm(rule, leaf.model, leaf.version)
        case ast.RejectConsequent():
            return Arm(rule, reason=leaf.reason)
        case ast.SplitConsequent():
            arms = tuple(model_arm(rule, a.model, a.version, a.name) for a in leaf.arms)
            return Split(rule, arms, arm_chooser(leaf), leaf.unit)
    raise ReleaseRefusedError(
        f"rule {rule!r} has a consequent that is parsed, not yet served: {type(leaf).__name__}",
        code="release.consequent",
    )


def _decisions(deciding: CompiledRules | None, content: ReleaseContent) -> tuple[Decided, ...]:
    """Outcomes aligned with the decision table, then the one without a decision."""
    durability = content.policies.durability
    outcomes = []
    for rule, leaf in zip(deciding.ids, deciding.consequents, strict=True) if deciding else ():
        word = leaf.decision if isinstance(leaf, ast.DecisionConsequent) else None
        if word is None:
            raise ReleaseRefusedError(
                f"decision rule {rule!r} has no decision", code="release.decision_table"
            )
        adverse = word in content.policies.adverse_decisions
        outcomes.append(Decided(word, rule, tail_of(word, rule, durability), adverse))
    return (*outcomes, Decided(None, None, tail_of(None, None, durability), adverse=False))


def _decoders(features: FeatureMap, *, context: bool) -> Decoders:
    """Decoders of the request's features, or of its context features."""
    struct: Any = features_struct(features, context=context)
    own = own_features(features, context=context)
    defaults = tuple(
        (field.name, field.default)
        for field in msgspec.structs.fields(struct)
        if own[field.name].default is not None
    )
    return Decoders(
        tuple(own),
        struct,
        msgspec.json.Decoder(struct).decode,
        defaults,
        applied_defaults(features, context=context),
    )
