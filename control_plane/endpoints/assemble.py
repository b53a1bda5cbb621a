"""From a draft to the content of a release: compiled, analysed, and checked against what serves."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from compiler.errors import AppError, Problem, ProblemsError
from compiler.rules.finding import Finding
from compiler.rules.parse_consequent import consequent_names
from compiler.rules.pipeline import compile_rules
from compiler.schema import FeatureMap, OutputSchema, merge_features
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.contract import broken_promises
from control_plane.endpoints.schemas import Draft
from control_plane.registry.service import PackageMismatchError
from router.release.spec import ModelRef, ReleaseContent

_SQL = sql.load("control_plane.endpoints")

READY = ("approved", "deployed", "superseded")
"""States of a version that may be released."""


class Manifest(Struct):
    """What a release needs of a package's manifest."""

    name: str
    version: int
    features: FeatureMap
    output: OutputSchema
    contributors: tuple[str, ...] = ()


class Parts(Struct):
    """What a draft comes to."""

    findings: list[Finding]
    features: FeatureMap = {}
    output: OutputSchema | None = None
    models: tuple[ModelRef, ...] = ()
    routes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Rule id and the models it may lead to, none for a refusal."""

    @property
    def errors(self) -> list[Finding]:
        """Findings that stop a proposal."""
        return [finding for finding in self.findings if finding.level == "error"]


def read_manifest(raw: bytes, digest: str) -> Manifest:
    """The manifest of a package, proved by its digest.

    Raises:
        PackageMismatchError: the bytes were changed.
    """
    found = "sha256:" + hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise PackageMismatchError(f"expected the manifest of {digest}, got {found}")
    return msgspec.json.decode(raw, type=Manifest)


async def assemble(connection: Connection, draft: Draft) -> Parts:
    """Compile and analyse a draft with the packages it names; every problem is a finding."""
    names = sorted(draft.models)
    rows = await connection.fetch(_SQL["packages"], names, [draft.models[n] for n in names])
    found: list[Finding] = []
    manifests: dict[str, tuple[Manifest, str]] = {}
    for row in rows:
        manifest = read_manifest(bytes(row["manifest"]), row["digest"])
        manifests[row["model"]] = manifest, row["digest"]
        if row["state"] not in READY:
            found.append(
                _finding(
                    "warning",
                    "model.not_approved",
                    f"{row['model']} version {row['version']} is {row['state']}; "
                    "it has to be approved before activation",
                    f"models.{row['model']}",
                )
            )
    found.extend(
        _finding(
            "error",
            "model.unknown",
            f"there is no package of {name} version {draft.models[name]}",
            f"models.{name}",
        )
        for name in names
        if name not in manifests
    )
    return _compile(draft, manifests, found)


def _compile(
    draft: Draft, manifests: dict[str, tuple[Manifest, str]], found: list[Finding]
) -> Parts:
    output = _output(manifests, found)
    if output is None:
        found.append(
            _finding("error", "release.no_models", "a release needs at least one model", "models")
        )
    try:
        models = merge_features([(name, m.features) for name, (m, _) in manifests.items()])
        rules = compile_rules(draft.rules, features=models, output=output)
    except AppError as error:
        found.extend(_problems(error, "rules"))
        return Parts(found)
    try:
        features = merge_features([("the models", models), ("the rules", rules.features)])
    except AppError as error:
        found.extend(_problems(error, "rules"))
        return Parts(found)
    found.extend(rules.analyse())
    found.extend(
        _finding("error", "model.no_version", f"no version is given for {name}", f"models.{name}")
        for name in rules.models()
        if name not in draft.models
    )
    found.extend(
        _finding("note", "model.unused", f"no rule routes to {name}", f"models.{name}")
        for name in draft.models
        if name not in rules.models()
    )
    if draft.decision_table is not None:
        try:
            table = compile_rules(
                draft.decision_table, features=features, output=output, kind="decision"
            )
            features = merge_features(
                [("the rules", features), ("the decision table", table.features)]
            )
            found.extend(
                msgspec.structs.replace(finding, at=f"decision_table {finding.at}".strip())
                for finding in table.analyse()
            )
        except AppError as error:
            found.extend(_problems(error, "decision_table"))
    refs = tuple(
        ModelRef(name, manifests[name][0].version, manifests[name][1])
        for name in rules.models()
        if name in manifests
    )
    routes = tuple(zip(rules.ids, map(consequent_names, rules.consequents), strict=True))
    return Parts(found, features, output, refs, routes)


def _output(
    manifests: dict[str, tuple[Manifest, str]], found: list[Finding]
) -> OutputSchema | None:
    """The one output schema of all models."""
    output: OutputSchema | None = None
    for name, (manifest, _) in manifests.items():
        if output is None:
            output = manifest.output
        elif manifest.output != output:
            found.append(
                _finding(
                    "error",
                    "release.outputs",
                    f"{name} answers {manifest.output.task} {list(manifest.output.classes)}, "
                    f"the others {output.task} {list(output.classes)}",
                    f"models.{name}",
                )
            )
    return output


def _problems(error: AppError, part: str) -> list[Finding]:
    problems = error.problems if isinstance(error, ProblemsError) else (error.problem(),)
    return [_worded(problem, part) for problem in problems]


def _worded(problem: Problem, part: str) -> Finding:
    hint = f" ({problem.hint})" if problem.hint else ""
    at = f"{part} {problem.at}".strip()
    return _finding("error", problem.code, problem.message + hint, at)


def _finding(level: Any, code: str, message: str, at: str) -> Finding:
    return Finding(level, code, message, at=at)


class Context(Struct):
    """Facts of a release that are not in the draft."""

    endpoint: str
    number: int
    owner: str
    slo: dict[str, float]
    justification: str
    proposed_by: str
    editors: tuple[str, ...]
    effective_from: str | None
    created_at: str


def content_of(draft: Draft, parts: Parts, context: Context) -> ReleaseContent:
    """The content of a release; ``parts`` has no errors."""
    assert parts.output is not None
    return ReleaseContent(
        endpoint=context.endpoint,
        number=context.number,
        features=parts.features,
        output=parts.output,
        rules=draft.rules,
        decision_table=draft.decision_table,
        models=parts.models,
        policies=draft.policies,
        owner=context.owner,
        slo=context.slo,
        justification=context.justification,
        proposed_by=context.proposed_by,
        editors=context.editors,
        effective_from=context.effective_from,
        created_at=context.created_at,
    )


async def against_live(
    connection: Connection, endpoint: str, draft: Draft, parts: Parts
) -> list[Finding]:
    """The contract check: what callers of the release in service would lose."""
    row = await connection.fetchrow(_SQL["serving_content"], endpoint)
    if row is None or parts.output is None:
        return []
    live = msgspec.json.decode(bytes(row["content"]), type=ReleaseContent)
    blank = Context(endpoint, row["number"] + 1, "", {}, "", "", (), None, "")
    return broken_promises(live, content_of(draft, parts, blank))


def rfc3339(time: datetime) -> str:
    """RFC 3339 text of a time in UTC, with microseconds when it has any."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
