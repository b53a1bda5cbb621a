"""Refusals about data.

InvalidError
+-- DataError         the data cannot become a snapshot; the code says why
+-- DeclarationError  the declaration does not fit the data
"""

from __future__ import annotations

from control_plane.errors import InvalidError


class DataError(InvalidError):
    """The data cannot be read as a table."""

    code = "data.invalid"


class DeclarationError(InvalidError):
    """The declaration and the data do not fit together."""

    code = "dataset.declaration"
