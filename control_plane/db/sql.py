"""SQL statements of a topic, read once from the ``queries.sql`` beside its code.

Each statement stands under a heading ``-- name: verb_object`` and may be followed by comment lines
that say what it is for.
"""

from __future__ import annotations

import re
from importlib.resources import files

_HEADING = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


class Queries(dict[str, str]):
    """Statement by name."""

    def __missing__(self, name: str) -> str:
        """A wrong name is a mistake of the code."""
        raise KeyError(f"no query {name!r}; there are: {', '.join(sorted(self))}")


def load(package: str, file: str = "queries.sql") -> Queries:
    """The statements of a package, such as ``load("control_plane.keys")``."""
    return parse((files(package) / file).read_text("utf-8"))


def parse(text: str) -> Queries:
    r"""Split a file at its headings.

    >>> parse("-- name: one\nSELECT 1;\n-- name: two\n-- for tests\nSELECT 2;\n")
    {'one': 'SELECT 1', 'two': '-- for tests\nSELECT 2'}
    """
    parts = _HEADING.split(text)
    found = Queries()
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"two queries are named {name!r}")
        found[name] = body.strip().removesuffix(";")
    return found
