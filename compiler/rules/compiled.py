"""A compiled table: what a router, a bulk job and a review screen hold."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from compiler.rules import ast, reference
from compiler.rules.check import field_names
from compiler.rules.chunks import VectorProgram
from compiler.rules.emit_explain import Explainer
from compiler.rules.emit_reads import Binding
from compiler.rules.emit_scalar import reads_missing
from compiler.rules.engine import Engine, Target, build_scalar, scalar_source
from compiler.rules.explanation import Explanation, decide
from compiler.rules.finding import Finding
from compiler.rules.flat import all_steps, number_leaves
from compiler.rules.names import output_features
from compiler.rules.parse_consequent import consequent_names
from compiler.rules.passes.optimise import optimise
from compiler.rules.unknowns import Unknowns
from compiler.schema import CONTEXT_PREFIX, FeatureMap, OutputSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


class CompiledRules:
    """Scalar and vector functions of one table, all equal to the reference interpreter.

    Attributes:
        table: the checked table.
        features: every feature declared, in order.
        output: what the models answer; needed by decision tables only.
        ids: rule id per leaf; the last is ``default``.
        consequents: consequent per leaf, aligned with ``ids``.
        may_be_unknown: whether a request that the schema accepts can make a rule UNKNOWN.
        digest: ``sha256:<hex>`` of the canonical form of table and features.
    """

    def __init__(
        self, table: ast.Table, features: FeatureMap, output: OutputSchema | None, canonical: bytes
    ) -> None:
        self.table, self.features, self.output = table, features, output
        self.flat = number_leaves(table)
        self.ids, self.consequents = self.flat.ids, self.flat.consequents
        self.scope: FeatureMap = {**features, **self._output_scope()}
        self.may_be_unknown = reads_missing(self.flat, self.scope)
        self.digest = "sha256:" + hashlib.sha256(canonical).hexdigest()
        self.on_unknown = table.on_unknown if isinstance(table.on_unknown, str) else "consequent"
        self._scalars: dict[tuple[Binding, Engine | None], Callable[..., int]] = {}

    def _output_scope(self) -> FeatureMap:
        return output_features(self.output) if self.table.kind == "decision" else {}

    def models(self) -> tuple[str, ...]:
        """Names of models that a consequent may route to, in order."""
        if self.table.kind == "decision":
            return ()
        found = {name: None for leaf in self.consequents for name in consequent_names(leaf)}
        return tuple(found)

    @cached_property
    def target(self) -> Target:
        """What emitters are given: the optimised table and its names."""
        return Target(
            optimise(self.flat, on_unknown=self.on_unknown),
            self.scope,
            self.output.classes if self.output else (),
            self.table.kind == "decision",
            self.on_unknown,
        )

    @property
    def source(self) -> str:
        """Generated Python of the struct binding, to be read by people."""
        return scalar_source(self.target, "struct").text

    def scalar(
        self, binding: Binding = "struct", *, engine: Engine | None = None
    ) -> Callable[..., int]:
        """Function of one row to the index of the deciding leaf.

        ``fn(f, c, now_us)``, for a decision table ``fn(f, c, now_us, out)``. ``struct``: ``f`` and
        ``c`` have one attribute per feature, None for MISSING (``c`` may be None). ``dict``: ``f``
        maps names (``context.x`` included) to values of any type, wrong ones are MISSING; ``c`` is
        not read. ``out`` is ``(label, probabilities)``, ``(value,)`` or ``(cluster, distance)``.
        Under ``onUnknown: error`` the answer is -1-i when rule i is UNKNOWN. ``engine`` overrides
        the choice of the cost model between an if-chain and a bitmask index.
        """
        key = binding, engine
        if key not in self._scalars:
            source = scalar_source(self.target, binding, engine)
            self._scalars[key] = build_scalar(self.target, binding, source)
        return self._scalars[key]

    def row_of(self, f: Any, c: Any, out: tuple[Any, ...] | None = None) -> dict[str, Any]:
        """One flat row, output names included, from either binding."""
        row: dict[str, Any] = {}
        if isinstance(f, dict):
            row.update(f)
        else:
            for name in self.features:
                plain = name.removeprefix(CONTEXT_PREFIX)
                row[name] = getattr(f if plain == name else c, plain, None)
        if out is not None and self.output is not None:
            row.update(output_row(self.output, out))
        return row

    def unknowns(
        self, f: Any, c: Any, now_us: int, out: tuple[Any, ...] | None = None
    ) -> tuple[str, ...]:
        """Ids of the UNKNOWN rules before the deciding one, in order.

        A look at the features that may be missing unless ``f`` is a mapping: a fraction of a
        microsecond when none is.
        """
        if isinstance(f, dict):
            return self.reference(self.row_of(f, c, out), now_us)[1]
        row = (f, c, now_us, out) if self.target.decides else (f, c, now_us)
        suspects = self._unknowns.gaps(*row)
        if not suspects:
            return ()
        index = self.scalar("struct")(*row)
        if self.on_unknown == "fallthrough":
            return self._unknowns.find(index, suspects, row, lambda: self.row_of(f, c, out))
        if index >= 0 and index != self.flat.unknown:
            return ()  # an UNKNOWN rule would have decided
        return self.reference(self.row_of(f, c, out), now_us)[1]

    @cached_property
    def _unknowns(self) -> Unknowns:
        return Unknowns(self.flat, self.target)

    def reference(self, row: Mapping[str, Any], now_us: int = 0) -> tuple[int, tuple[str, ...]]:
        """The decision on a flat row as the slow interpreter takes it, and the UNKNOWN rules."""
        return decide(self.flat, self.on_unknown, reference.Reader(self.scope, row, now_us))

    def explain(self, row: Mapping[str, Any], now_us: int = 0) -> Explanation:
        """The decision on a flat row with every rule and leaf that was read."""
        return self._explainer.explain(row, now_us)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.flat, self.scope, self.on_unknown)

    def numpy(
        self, columns: Mapping[str, NDArray[Any]], n: int, now_us: int = 0
    ) -> NDArray[np.int16]:
        """Indices of the deciding leaves of ``n`` rows.

        Args:
            columns: by feature name arrays of shape (n,), Arrow arrays, or codes and words as
                :class:`compiler.models.values.Coded` has them; an absent one is MISSING throughout.
            n: rows.
            now_us: time of the request.

        Raises:
            ColumnError: a column has another number of rows.
        """
        return self._vector.run(columns, n, now_us)

    @cached_property
    def _vector(self) -> VectorProgram:
        return VectorProgram(self.flat, self.scope, self.on_unknown)

    def analyse(
        self, tell: Callable[[str], None] | None = None, now_us: int | None = None
    ) -> list[Finding]:
        """What a reviewer should know about the table, worst first.

        Args:
            tell: is told in a few words what is looked for next.
            now_us: time that examples see as now; the present without it.
        """
        from compiler.rules.analyse.report import analyse

        return analyse(self, tell or (lambda _: None), now_us)

    def readers(self) -> dict[str, tuple[str, ...]]:
        """Ids of the rules that test each feature, in document order."""
        found: dict[str, list[str]] = {}
        for step in all_steps(self.flat.cascade):
            for name in field_names(step.rule.condition):
                found.setdefault(name, []).append(step.path)
        return {name: tuple(ids) for name, ids in found.items()}

    def steps(self) -> list[Any]:
        """Every rule, nested ones included, in document order."""
        return list(all_steps(self.flat.cascade))


def output_row(output: OutputSchema, out: tuple[Any, ...]) -> dict[str, Any]:
    """A model's answer under the names of a decision table."""
    if output.task == "regression":
        return {"output.value": out[0]}
    if output.task == "clustering":
        return {"output.cluster": out[0], "output.distance": out[1]}
    row: dict[str, Any] = {"output.label": out[0]}
    for name, value in zip(output.classes, out[1], strict=True):
        row[f"output.probability.{name}"] = value
    return row


def canonical_bytes(data: Any) -> bytes:
    """Canonical JSON: sorted keys, no white space."""
    return msgspec.json.encode(data, order="sorted")
