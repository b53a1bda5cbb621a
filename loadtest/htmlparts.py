"""Pieces that every part of the page is made of."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def section(title: str, body: str) -> str:
    """A heading and what is under it; the body is markup."""
    return f"<h2>{escape(title)}</h2>{body}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of text, scrollable where the page is narrow."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class=scroll><table><tr>{top}</tr>{body}</table></div>"


def notes(texts: Sequence[str]) -> str:
    """What a reader should know, a paragraph each."""
    return "".join(f"<p class=note>{escape(text)}</p>" for text in texts)


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and sentences side by side; sentences wrap."""
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl class=facts>{cells}</dl>"
