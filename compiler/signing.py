"""Ed25519 keys and DSSE envelopes: who said these bytes.

An envelope is the JSON of https://github.com/secure-systems-lab/dsse: what is signed is the
pre-authentication encoding of (payload type, payload), so bytes signed as one kind of statement
can never be presented as another. A private key is a 32-byte seed in a small JSON file with mode
0600, in the clear or sealed with a passphrase (scrypt, then AES-256-GCM).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Struct

from compiler.errors import AppError

KEY_FORMAT: Literal["interlock/key/v1"] = "interlock/key/v1"
SEED_BYTES = 32
MAX_ENVELOPE_BYTES = 4 << 20
MAX_SIGNATURES = 16
SCRYPT_N = 1 << 15  # about 0.1 s and 32 MiB: a passphrase is typed once per command


class SignatureError(AppError):
    """An envelope is malformed, or no trusted key signed it."""

    code = "signature.invalid"


class KeyFileError(AppError):
    """A key file cannot be read, written or opened."""

    code = "key.file"


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """One signature of an envelope: key id and base64 of 64 bytes."""

    keyid: str
    sig: str


class Envelope(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A DSSE envelope as JSON: the payload travels inside, base64."""

    payload_type: str
    payload: str
    signatures: tuple[Signature, ...]


class _Sealed(Struct, frozen=True, forbid_unknown_fields=True):
    salt: str
    nonce: str
    box: str


class _KeyFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    format: Literal["interlock/key/v1"]
    public: str
    seed: str | None = None
    sealed: _Sealed | None = None


def key_id(public: bytes) -> str:
    """Name of a public key: ``ed25519:`` and the first 16 hex digits of its SHA-256."""
    return "ed25519:" + hashlib.sha256(public).hexdigest()[:16]


def b64(data: bytes) -> str:
    """Standard base64 text."""
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    """Bytes of standard or URL-safe base64; anything else raises ``ValueError``."""
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not base64: {error}") from error


_URL_SAFE = str.maketrans("-_", "+/")


class KeyPair:
    """A private Ed25519 key with its public half and name."""

    __slots__ = ("_private", "_seed", "id", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise KeyFileError(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()
        self.id: str = key_id(self.public)

    def __repr__(self) -> str:
        """The name only; a seed never reaches a log."""
        return f"KeyPair({self.id})"

    @classmethod
    def generate(cls) -> KeyPair:
        """A new key from the system's random source."""
        return cls(secrets.token_bytes(SEED_BYTES))

    @classmethod
    def load(cls, path: Path | str, passphrase: str | None = None) -> KeyPair:
        """The key in a file.

        Raises:
            KeyFileError: the file is missing, readable by others, damaged, or the passphrase is
                missing or wrong.
        """
        path = Path(path)
        try:
            mode = path.stat().st_mode & 0o777
            raw = path.read_bytes()
        except OSError as error:
            raise KeyFileError(f"cannot read the key: {error.strerror}", at=str(path)) from error
        if mode & 0o077:
            raise KeyFileError(
                f"expected a key file only its owner can read, got mode {mode:04o}",
                at=str(path),
                hint=f"chmod 600 {path}",
            )
        try:
            file = msgspec.json.decode(raw, type=_KeyFile)
            pair = cls(unb64(file.seed) if file.seed is not None else _open(file, passphrase))
            damaged = unb64(file.public) != pair.public
        except (msgspec.MsgspecError, ValueError) as error:
            raise KeyFileError(f"not a key file: {error}", at=str(path)) from error
        except KeyFileError as error:
            raise KeyFileError(error.message, at=str(path), hint=error.hint) from error
        if damaged:
            raise KeyFileError("the public and private halves do not belong together", at=str(path))
        return pair

    def save(self, path: Path | str, passphrase: str | None = None) -> None:
        """Write the key with mode 0600; an existing file is never replaced.

        Raises:
            KeyFileError: the file exists or cannot be written.
        """
        path = Path(path)
        public = b64(self.public)
        if passphrase is None:
            file = _KeyFile(KEY_FORMAT, public, seed=b64(self._seed))
        else:
            file = _KeyFile(KEY_FORMAT, public, sealed=_seal(self._seed, passphrase))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise KeyFileError(
                "a key file of this name exists and is never replaced",
                at=str(path),
                hint="choose another name, or move the old key away yourself",
            ) from error
        except OSError as error:
            raise KeyFileError(f"cannot write the key: {error.strerror}", at=str(path)) from error
        with os.fdopen(handle, "wb") as out:
            out.write(msgspec.json.encode(file) + b"\n")
            out.flush()
            os.fsync(out.fileno())

    def sign_raw(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of exactly these bytes."""
        return self._private.sign(message)


def _seal(seed: bytes, passphrase: str) -> _Sealed:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    key = Scrypt(salt=salt, length=32, n=SCRYPT_N, r=8, p=1).derive(passphrase.encode())
    return _Sealed(
        b64(salt), b64(nonce), b64(AESGCM(key).encrypt(nonce, seed, KEY_FORMAT.encode()))
    )


def _open(file: _KeyFile, passphrase: str | None) -> bytes:
    sealed = file.sealed
    if sealed is None:
        raise KeyFileError("the key file holds no private key")
    if passphrase is None:
        raise KeyFileError("this key needs its passphrase", hint="give it when asked")
    key = Scrypt(salt=unb64(sealed.salt), length=32, n=SCRYPT_N, r=8, p=1).derive(
        passphrase.encode()
    )
    try:
        return AESGCM(key).decrypt(unb64(sealed.nonce), unb64(sealed.box), KEY_FORMAT.encode())
    except InvalidTag as error:
        raise KeyFileError("the passphrase does not open this key") from error


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding, the exact bytes that are signed.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'

    Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, *keys: KeyPair) -> bytes:
    """An envelope (JSON) of these bytes signed by each key."""
    message = pae(payload_type, payload)
    signatures = tuple(Signature(key.id, b64(key.sign_raw(message))) for key in keys)
    return msgspec.json.encode(Envelope(payload_type, b64(payload), signatures))


def verify_signers(
    envelope: bytes | str, keys: Mapping[str, bytes], payload_type: str
) -> tuple[bytes, tuple[str, ...]]:
    """Payload and the ids of the known keys that signed it, in envelope order.

    Signatures by keys that are not in ``keys`` are ignored, as DSSE asks; a bad signature under a
    known key refuses the whole envelope.

    Args:
        envelope: JSON of a DSSE envelope.
        keys: public keys (32 bytes) by key id.
        payload_type: the only type accepted.

    Raises:
        SignatureError: malformed, another type, a wrong signature, or no known signer.
    """
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise SignatureError(f"expected an envelope under {MAX_ENVELOPE_BYTES} bytes")
    try:
        parsed = msgspec.json.decode(envelope, type=Envelope)
        payload = unb64(parsed.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SignatureError(f"not a DSSE envelope: {error}") from error
    if parsed.payload_type != payload_type:
        raise SignatureError(f"expected a {payload_type}, got a {parsed.payload_type!r}")
    if len(parsed.signatures) > MAX_SIGNATURES:
        raise SignatureError(f"expected at most {MAX_SIGNATURES} signatures")
    message = pae(payload_type, payload)
    signers: dict[str, None] = {}
    for signature in parsed.signatures:
        public = keys.get(signature.keyid)
        if public is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(unb64(signature.sig), message)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(
                f"the signature of {signature.keyid} does not fit the payload",
                hint="the payload was changed after it was signed",
            ) from error
        signers[signature.keyid] = None
    if not signers:
        named = ", ".join(s.keyid for s in parsed.signatures) or "nobody"
        raise SignatureError(
            f"expected the signature of a trusted key, got {named}",
            code="signature.unknown_key",
            hint="enrol the signer's key in the roster, or check the root key",
        )
    return payload, tuple(signers)


def verify(envelope: bytes | str, keys: Mapping[str, bytes], payload_type: str) -> bytes:
    """Payload of an envelope that at least one of ``keys`` signed.

    Raises:
        SignatureError: as :func:`verify_signers`.
    """
    return verify_signers(envelope, keys, payload_type)[0]


def peek(envelope: bytes | str) -> tuple[str, bytes]:
    """Payload type and payload, **unverified**: only for showing what a statement says.

    Raises:
        SignatureError: not an envelope.
    """
    try:
        parsed = msgspec.json.decode(envelope, type=Envelope)
        return parsed.payload_type, unb64(parsed.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SignatureError(f"not a DSSE envelope: {error}") from error
