"""Passwords: which are accepted, how they are stored and checked."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from control_plane.errors import InvalidError

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""Argon2id with 19 MiB: the OWASP cheat sheet's first choice for servers that share a machine."""

_nobody = _hasher.hash("nobody has this password")
_gate = asyncio.Semaphore(4)
"""Hashes at once: each holds 19 MiB and a core."""

_USUAL = ("password", "passwort", "qwertz", "qwerty", "letmein", "interlock", "welcome", "123456")


class PasswordError(InvalidError):
    """The password is too easy to guess."""

    code = "password.weak"


def check_password(password: str, email: str, min_length: int) -> None:
    """Stop at a password that is short, usual, or made of the e-mail.

    Raises:
        PasswordError: says which.
    """
    if len(password) < min_length:
        raise PasswordError(f"expected at least {min_length} characters, got {len(password)}")
    lowered = password.lower()
    if len(set(lowered)) < 5:
        raise PasswordError("expected at least 5 different characters")
    local = email.partition("@")[0]
    rest = lowered
    for word in (*_USUAL, local) if len(local) >= 3 else _USUAL:
        rest = rest.replace(word, "")
    if len(rest) < min_length // 2:
        raise PasswordError(
            "expected more than usual words and the e-mail",
            hint="a sentence of your own is easy to remember and hard to guess",
        )


async def hash_password(password: str) -> str:
    """Argon2id hash with its parameters, computed off the event loop."""
    async with _gate:
        return await asyncio.to_thread(_hasher.hash, password)


async def verify_password(password: str, stored: str | None) -> bool:
    """Whether a password fits; takes as long for somebody who does not exist."""
    async with _gate:
        fits = await asyncio.to_thread(_verify, password, stored or _nobody)
    return fits and stored is not None


def _verify(password: str, stored: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
