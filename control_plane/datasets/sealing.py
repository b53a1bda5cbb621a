"""Secrets of connections, sealed before they reach the database.

AES-256-GCM under the master key; the connection's name is authenticated with it, so that a sealed
secret moved to another row does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.errors import SetupError

NONCE_BYTES = 12


class SealError(SetupError):
    """A secret cannot be sealed or opened here."""

    code = "master.key"


class MasterKey:
    """The key that connection secrets are sealed with."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(secret)
        self.id = "master:" + hashlib.sha256(b"interlock master key" + secret).hexdigest()[:8]

    @classmethod
    def load(cls, path: Path | None) -> MasterKey:
        """The key in a file of base64 text.

        Raises:
            SealError: no file, or not a key of 32 bytes.
        """
        hint = "set INTERLOCK_MASTER_KEY to a file with 32 random bytes in base64"
        if path is None:
            raise SealError("there is no master key, so secrets cannot be kept", hint=hint)
        try:
            secret = base64.b64decode(path.read_bytes().strip(), validate=True)
        except (OSError, binascii.Error, ValueError) as error:
            raise SealError(f"the master key {path} cannot be read", hint=hint) from error
        if len(secret) != 32:
            raise SealError(f"expected 32 bytes in {path}, got {len(secret)}", hint=hint)
        return cls(secret)

    def seal(self, name: str, text: str) -> bytes:
        """A secret as it is stored: nonce, then ciphertext with its tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> str:
        """The secret again.

        Raises:
            SealError: sealed with another key, for another name, or changed.
        """
        try:
            nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, rest, name.encode()).decode()
        except (InvalidTag, ValueError):
            raise SealError(
                f"the secret of connection {name!r} does not open with this master key",
                hint="was the key replaced? then make the connection again",
            ) from None
