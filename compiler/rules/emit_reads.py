"""Python statements that bring one feature of a row into a local, in its domain.

Numbers are read with MISSING as NaN, which compares false by itself; other types with None. From a
struct the values are already typed; from a mapping each read is guarded, because ``True < 5`` and
``"a" == 1`` do not raise. User text enters only through ``repr`` and constants.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Literal

from compiler.rules import kernel
from compiler.schema import CONTEXT_PREFIX, Feature, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Sequence

Binding = Literal["struct", "dict", "row"]
"""Where values come from: attributes, a mapping beside the model's answer, or one flat mapping."""
NUMBERS = frozenset({"int", "float", "float32"})
_CLASSES = {"int": "int", "float": "float", "bool": "bool", "string": "str", "enum": "str"}


class ReadEmitter:
    """Emits reads; names of user text never become identifiers.

    Attributes:
        constants: what the generated text refers to, by name.
        local: local variable of each feature read so far.
        lines: statements emitted so far.
    """

    def __init__(
        self,
        features: FeatureMap,
        *,
        binding: Binding,
        careful: bool,
        classes: Sequence[str] = (),
        constants: dict[str, Any] | None = None,
    ) -> None:
        self.features, self.binding, self.careful = features, binding, careful
        self.classes = tuple(classes)
        self.constants = dict(kernel.NAMESPACE) if constants is None else constants
        self.local: dict[str, str] = {}
        self.lines: list[str] = []

    def constant(self, value: Any) -> str:
        """Name under which generated code finds a value."""
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def read(self, name: str, pad: str) -> None:
        """Statements that put a feature into its local, in its domain."""
        feature = self.features[name]
        local = self.local.setdefault(name, f"v{len(self.local)}")
        if self.raw(name):
            self.lines.append(f"{pad}{local} = {self.raw(name)}")
            self._from_any(feature, local, pad)
        elif self.binding == "struct":
            self.lines.append(f"{pad}{local} = {self.attribute(name)}")
            self._from_struct(name, feature, local, pad)
        else:
            optional = self.careful or feature.nullable
            access = f"f.get({name!r})" if optional else f"f[{name!r}]"
            self.lines.append(f"{pad}{local} = {access}")
            self._from_any(feature, local, pad)

    def raw(self, name: str) -> str:
        """Access to a part of the model's answer; empty where the row itself has the name."""
        if not name.startswith("output.") or self.binding == "row":
            return ""
        word = name.removeprefix("output.")
        if word.startswith("probability."):
            return f"out[1][{self.classes.index(word.removeprefix('probability.'))}]"
        return "out[1]" if word == "distance" else "out[0]"

    def attribute(self, name: str) -> str:
        """Attribute access; the name was matched against the identifier pattern."""
        of = "f"
        if name.startswith(CONTEXT_PREFIX):
            name, of = name.removeprefix(CONTEXT_PREFIX), "c"
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and not iskeyword(name):
            access = f"{of}.{name}"
        else:
            access = f"getattr({of}, {name!r})"
        return access if of == "f" else f"({access} if c is not None else None)"

    def optional(self, name: str) -> bool:
        """Whether the fast function has to expect MISSING; elsewhere it leaves to its twin."""
        context = self.binding == "struct" and name.startswith(CONTEXT_PREFIX)
        return self.careful or self.features[name].nullable or context

    def _from_struct(self, name: str, feature: Feature, local: str, pad: str) -> None:
        if feature.type in NUMBERS and self.optional(name):
            self.lines.append(f"{pad}if {local} is None: {local} = NAN")
        if feature.type == "float32":
            self.lines.append(f"{pad}{local} = {self._narrow(local)}")

    def _from_any(self, feature: Feature, local: str, pad: str) -> None:
        numeric = feature.type in NUMBERS
        reader = kernel.number_reader if numeric else kernel.value_reader
        other = f"{self.constant(reader(feature))}({local})"
        if numeric and feature.nullable:
            other = f"NAN if {local} is None else {other}"
        if feature.type == "float32":
            kind, found = "float", self._narrow(local)
            self.lines.append(f"{pad}{local} = {found} if {local}.__class__ is float else {other}")
            return
        if feature.type == "float" and not self.careful:  # an int beyond float64 raises
            other = f"float({local}) if {local}.__class__ is int else {other}"
        kind = _CLASSES.get(feature.type, "")
        guard = f"if {local}.__class__ is not {kind}: " if kind else ""
        self.lines.append(f"{pad}{guard}{local} = {other}")

    def _narrow(self, local: str) -> str:
        """Rounding to float32; beyond its range the fast form raises."""
        return f"round32({local})" if self.careful else f"unpack32(pack32({local}))[0]"
