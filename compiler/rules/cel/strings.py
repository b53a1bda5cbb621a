"""String and bytes literals of CEL: prefixes, quotes and escapes."""

from __future__ import annotations

import re

_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "?": "?",
    '"': '"',
    "'": "'",
    "`": "`",
}
_ESCAPE = re.compile(
    r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.?))",
    re.DOTALL,
)


class EscapeError(Exception):
    """An escape that CEL does not have."""


def unquote(raw: str) -> str | bytes:
    """Value of a literal as written, prefix and quotes included.

    Raises:
        EscapeError: an unknown escape, or a code point that is no character.
    """
    prefix = raw[: len(raw) - len(raw.lstrip("bBrR"))].lower()
    body = raw[len(prefix) :]
    quotes = 3 if body.startswith(("'''", '"""')) else 1
    body = body[quotes:-quotes]
    if "b" in prefix:
        return body.encode() if "r" in prefix else _bytes(body)
    try:
        text = body if "r" in prefix else _ESCAPE.sub(_character, body)
        text.encode()
    except UnicodeEncodeError:
        raise EscapeError("expected a Unicode character, got a surrogate") from None
    return text


def _character(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    if digits or found[4]:
        code = int(digits, 16) if digits else int(found[4], 8)
        if code > 0x10FFFF:
            raise EscapeError(f"expected a code point up to 10FFFF, got {found[0]}")
        return chr(code)
    if found[5] not in _SIMPLE:
        raise EscapeError(f"expected an escape of CEL, got {found[0]!r}")
    return _SIMPLE[found[5]]


def _bytes(body: str) -> bytes:
    parts: list[bytes] = []
    place = 0
    for found in _ESCAPE.finditer(body):
        parts.append(body[place : found.start()].encode())
        place = found.end()
        if found[2] or found[3]:
            raise EscapeError(f"expected \\x or an octal escape in bytes, got {found[0]}")
        if found[1] or found[4]:
            parts.append(bytes([int(found[1], 16) if found[1] else int(found[4], 8)]))
        else:
            parts.append(_character(found).encode())
    parts.append(body[place:].encode())
    return b"".join(parts)
