"""Syntax tree of a CEL text; ``at`` is ``line:column`` within that text."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Literal(Struct, frozen=True):
    """A number, text, bytes, boolean or null, as a value of :mod:`values`."""

    value: Any
    at: str


class Ident(Struct, frozen=True):
    """A bare name."""

    name: str
    at: str


class Select(Struct, frozen=True):
    """``of.name``."""

    of: Node
    name: str
    at: str


class Index(Struct, frozen=True):
    """``of[key]``."""

    of: Node
    key: Node
    at: str


class Call(Struct, frozen=True):
    """A function, method or operator; operators are named by their symbol (``?:``, ``-_``)."""

    name: str
    target: Node | None
    args: tuple[Node, ...]
    at: str


class ListOf(Struct, frozen=True):
    """``[a, b]``."""

    items: tuple[Node, ...]
    at: str


class MapOf(Struct, frozen=True):
    """``{key: value}``."""

    items: tuple[tuple[Node, Node], ...]
    at: str


Node = Literal | Ident | Select | Index | Call | ListOf | MapOf
