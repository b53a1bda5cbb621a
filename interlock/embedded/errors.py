"""What can go wrong with the embedded servers, each with its remedy."""

from __future__ import annotations

from compiler.errors import AppError


class EmbeddedError(AppError):
    """An embedded server cannot run."""

    code = "embedded.failed"


class NotInstalledError(EmbeddedError):
    """The binaries of an embedded server are not installed."""

    code = "embedded.not_installed"


class ForeignVersionError(EmbeddedError):
    """The data folder was written by another PostgreSQL version."""

    code = "embedded.foreign_version"


class HomeError(EmbeddedError):
    """The home folder cannot be used."""

    code = "home.unusable"
