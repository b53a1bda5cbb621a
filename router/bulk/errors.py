"""What a bulk job refuses, and why it stopped."""

from __future__ import annotations

from compiler.errors import AppError


class BulkError(AppError):
    """The bulk job cannot be done."""

    code = "bulk"


class InputError(BulkError):
    """An input file cannot be read as what it claims to be."""

    code = "bulk.input"


class ResumeError(BulkError):
    """The output belongs to another job."""

    code = "bulk.resume"


class ManifestError(BulkError):
    """The manifest is damaged where no interrupted write explains it."""

    code = "bulk.manifest"


class OutputError(BulkError):
    """A part cannot be written."""

    code = "bulk.output"


class TooManyBadError(BulkError):
    """More rows carry errors than the job tolerates."""

    code = "bulk.bad_rows"


class StoppedError(BulkError):
    """The job was told to stop; it can be resumed."""

    code = "bulk.stopped"
