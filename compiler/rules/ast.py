"""The rule language as data: small frozen structs, one per construct.

Values of a condition are TRUE, FALSE or UNKNOWN (Kleene). MISSING stands for an absent key, null,
NaN and, under the lenient input policy, a wrong-typed value. Every node carries ``at``, the place
it was written (``line:column`` of a text, path of a JSON document); it takes no part in meaning.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Literal

from msgspec import Struct

Value = bool | int | float | decimal.Decimal | str | dt.date | dt.datetime
"""A literal: as written before the check, in the domain of its feature after it."""

CompareOp = Literal["=", "!=", "<", "<=", ">", ">="]
TextOp = Literal["contains", "beginsWith", "endsWith", "matches"]
PresenceOp = Literal["null", "notNull", "isNaN", "isEmpty", "isNotEmpty"]
ArithOp = Literal["+", "-", "*", "/", "abs", "min", "max", "coalesce"]


class Field(Struct, frozen=True):
    """The value of one named input; MISSING when the request has none."""

    name: str
    at: str = ""


class Const(Struct, frozen=True):
    """A literal operand."""

    value: Value
    at: str = ""


class Now(Struct, frozen=True):
    """The time of the request, a timestamp; never MISSING."""

    at: str = ""


class Arith(Struct, frozen=True):
    """Float64 arithmetic.

    MISSING when an argument is (``coalesce``: when all are) or when the result is not finite, as
    after a division by zero.
    """

    op: ArithOp
    args: tuple[Operand, ...]
    at: str = ""


Operand = Field | Const | Now | Arith


class Truth(Struct, frozen=True):
    """TRUE or FALSE whatever the row."""

    value: bool
    at: str = ""


class Known(Struct, frozen=True):
    """``value`` where the operand is present, else UNKNOWN (``x = 4.5`` on an int)."""

    operand: Operand
    value: bool
    at: str = ""


class Compare(Struct, frozen=True):
    """Two operands by one operator; UNKNOWN when one is MISSING."""

    left: Operand
    op: CompareOp
    right: Operand
    at: str = ""


class Distinct(Struct, frozen=True):
    """Null-safe comparison, never UNKNOWN: MISSING equals only MISSING."""

    left: Operand
    right: Operand
    negated: bool = False
    at: str = ""


class In(Struct, frozen=True):
    """Membership; an empty list is FALSE, MISSING is UNKNOWN either way."""

    operand: Operand
    values: tuple[Value, ...]
    negated: bool = False
    at: str = ""


class Between(Struct, frozen=True):
    """Both ends included; UNKNOWN when MISSING."""

    operand: Operand
    low: Value
    high: Value
    negated: bool = False
    at: str = ""


class Text(Struct, frozen=True):
    """A test of a string; ``ignore_case`` compares Unicode case folds of both sides."""

    operand: Operand
    op: TextOp
    value: str
    negated: bool = False
    ignore_case: bool = False
    at: str = ""


class Presence(Struct, frozen=True):
    """``null``, ``notNull`` and ``isNaN`` are never UNKNOWN; the empty tests are when MISSING."""

    operand: Operand
    op: PresenceOp
    negated: bool = False
    at: str = ""


class Within(Struct, frozen=True):
    """A timestamp in the ``span_us`` before (``last``) or after (``next``) now, ends included."""

    operand: Operand
    direction: Literal["last", "next"]
    span_us: int
    negated: bool = False
    at: str = ""


class And(Struct, frozen=True):
    """The least of its parts in FALSE < UNKNOWN < TRUE."""

    of: tuple[Condition, ...]
    at: str = ""


class Or(Struct, frozen=True):
    """The greatest of its parts in FALSE < UNKNOWN < TRUE."""

    of: tuple[Condition, ...]
    at: str = ""


class Xor(Struct, frozen=True):
    """TRUE where an odd number of parts is; UNKNOWN when any part is. ``negated`` flips it."""

    of: tuple[Condition, ...]
    negated: bool = False
    at: str = ""


class Not(Struct, frozen=True):
    """Swaps TRUE and FALSE; UNKNOWN stays."""

    of: Condition
    at: str = ""


Leaf = Compare | Distinct | In | Between | Text | Presence | Within | Known | Truth
Condition = Leaf | And | Or | Xor | Not


class ModelConsequent(Struct, frozen=True):
    """Score with one model; ``version`` None is the version that the release binds."""

    model: str
    version: int | None = None
    at: str = ""


class Arm(Struct, frozen=True):
    """One share of a split."""

    name: str
    weight: int
    model: str
    version: int | None = None


class SplitConsequent(Struct, frozen=True):
    """Sticky shares of the units: ``unit`` names the request's ``split_id`` or a feature."""

    arms: tuple[Arm, ...]
    salt: str
    unit: str = "split_id"
    layer: str = ""
    at: str = ""


class RejectConsequent(Struct, frozen=True):
    """Answer without a model."""

    reason: str = ""
    at: str = ""


class DecisionConsequent(Struct, frozen=True):
    """The decision word of a decision table."""

    decision: str
    at: str = ""


class ShadowConsequent(Struct, frozen=True):
    """Answer with ``primary``; ``mirrors`` score the same request unseen."""

    primary: ModelConsequent
    mirrors: tuple[ModelConsequent, ...]
    at: str = ""


class ChallengeConsequent(Struct, frozen=True):
    """Answer with ``champion``; ``challengers`` are compared with it."""

    champion: ModelConsequent
    challengers: tuple[ModelConsequent, ...]
    at: str = ""


class RulesConsequent(Struct, frozen=True):
    """A nested cascade, read when its rule fires; its default ends the reading."""

    rules: tuple[Rule, ...]
    default: Consequent
    at: str = ""


LeafConsequent = (
    ModelConsequent
    | SplitConsequent
    | RejectConsequent
    | DecisionConsequent
    | ShadowConsequent
    | ChallengeConsequent
)
Consequent = LeafConsequent | RulesConsequent


class Rule(Struct, frozen=True):
    """The first rule of a table whose condition is TRUE decides."""

    id: str
    condition: Condition
    consequent: Consequent
    at: str = ""
    description: str = ""


class Table(Struct, frozen=True):
    """A cascade with its default.

    Attributes:
        rules: in the order they are read.
        default: answers when no rule fired; mandatory.
        kind: ``routing`` chooses a model, ``decision`` a decision word.
        on_unknown: ``fallthrough``, ``error``, or the consequent that an UNKNOWN rule takes.
        id: name for people.
        revision: number for people.
        description: for people.
    """

    rules: tuple[Rule, ...]
    default: Consequent
    kind: Literal["routing", "decision"] = "routing"
    on_unknown: Literal["fallthrough", "error"] | LeafConsequent = "fallthrough"
    id: str = ""
    revision: int | None = None
    description: str = ""
