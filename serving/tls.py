"""TLS of a listening port, from files that are read again when they change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from msgspec import Struct

from compiler.errors import AppError

_log = logging.getLogger(__name__)


class TlsError(AppError):
    """The files of TLS cannot be read or do not fit together."""

    code = "tls.files"


class TlsSettings(Struct, frozen=True):
    """TLS on a port; the files are read again when they change."""

    certificate: Path
    """PEM chain, leaf first."""
    private_key: Path
    client_authority: Path | None = None
    """PEM of the authority whose clients are let in; set means mutual TLS."""


class Tls:
    """A server context and the files it came from.

    A changed certificate is used by the next handshake. Authorities of clients that are added are
    let in at once; one that is taken away is let in until the worker is replaced.

    Attributes:
        context: given to the listener.

    Raises:
        TlsError: a file cannot be read or does not fit.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        if settings.client_authority is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
        try:
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"TLS cannot start: {error}",
                at=str(settings.certificate),
                hint="expected a PEM chain, leaf first, and the private key that belongs to it",
            ) from error
        self._seen = self._stamp()

    def _load(self) -> None:
        self.context.load_cert_chain(self._settings.certificate, self._settings.private_key)
        if self._settings.client_authority is not None:
            self.context.load_verify_locations(self._settings.client_authority)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        settings = self._settings
        files = (settings.certificate, settings.private_key, settings.client_authority)
        return tuple(_identity(path) for path in files if path is not None)

    def refresh(self) -> bool:
        """Read the files again when they changed; whether new ones are in use."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self._check()
            self._load()
        except (OSError, ssl.SSLError) as error:
            _log.error("the new TLS files cannot be used, the old ones stay: %s", error)
            return False
        _log.info("TLS files were read again")
        return True

    def _check(self) -> None:
        """Try the files on a context of their own: half a change must not break the one in use."""
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trial.load_cert_chain(self._settings.certificate, self._settings.private_key)


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino
