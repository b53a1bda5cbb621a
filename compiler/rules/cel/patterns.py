r"""RE2 patterns, which CEL uses, as the safe subset of Python's.

The two spell some things alike and mean them differently: ``\d \w \s \b`` are ASCII in RE2, ``$``
is the very end. Those are rewritten; what only one of the two has, or folds case, is refused.
"""

from __future__ import annotations

import re

from compiler.rules import limits


class PatternError(Exception):
    """A pattern outside what both engines read alike."""


_ASCII = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_KEPT = frozenset("afnrtv")
_PART = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}|\\x[0-9A-Fa-f]{2}|\\.|\[\^?\]?|[^\\]", re.DOTALL)


def to_python(pattern: str) -> str:
    """The same pattern for :mod:`re`.

    Raises:
        PatternError: not RE2, outside the safe subset, or read differently by the two engines.
    """
    if len(pattern) > limits.MAX_PATTERN:
        raise PatternError(f"expected at most {limits.MAX_PATTERN} characters, got {len(pattern)}")
    parts: list[str] = []
    in_class = False
    place = 0
    while place < len(pattern):
        found = _PART.match(pattern, place)
        if found is None:
            raise PatternError("expected a character after \\, got the end of the pattern")
        word = found.group()
        if word.startswith("["):
            _open(word, pattern, place, in_class=in_class)
            in_class = True
            parts.append(word)
        elif in_class and word in "-&~|" and pattern[place + 1 : place + 2] == word:
            raise PatternError(f"expected {word}{word} in a class to be escaped, got it bare")
        else:
            in_class = in_class and word != "]"
            parts.append(_word(word, pattern, place, in_class=in_class))
        place = found.end()
    text = "".join(parts)
    problem = limits.regex_problem(text)
    if problem:
        raise PatternError(problem)
    return text


def _open(word: str, pattern: str, place: int, *, in_class: bool) -> None:
    if in_class and pattern[place + 1 : place + 2] in (":", "=", "."):
        raise PatternError("expected no named class such as [:alpha:], got one")
    if in_class:
        raise PatternError("expected a [ in a class to be escaped, got a bare one")
    if word.endswith("]"):
        raise PatternError("expected a ] in a class to be escaped, got a bare one")


def _word(word: str, pattern: str, place: int, *, in_class: bool) -> str:
    if word.startswith("\\"):
        return _escape(word, in_class=in_class)
    if in_class:
        return word
    if word == "$":
        return r"\Z"
    following = pattern[place + 1 : place + 3]
    if word == "(" and following.startswith("?") and following != "?:":
        raise PatternError("expected no flags, names or look-around in brackets, got (?")
    if word == "{" and following.startswith(","):
        raise PatternError("expected a lower count in {,n}, got none (RE2 reads it as text)")
    if word in "*+?}" and pattern[place + 1 : place + 2] == "+":
        raise PatternError("expected one repeat at a time, got two")
    return word


def _escape(word: str, *, in_class: bool) -> str:
    if word.startswith("\\x"):
        if len(word) < 4:
            raise PatternError("expected two hexadecimal digits after \\x, got other characters")
        code = int(word[2:].strip("{}"), 16)
        if code > 0x10FFFF:
            raise PatternError(f"expected a code point up to 10FFFF, got {word}")
        return re.escape(chr(code))
    letter = word[1]
    if letter in _ASCII:
        return _ASCII[letter] if in_class else f"[{_ASCII[letter]}]"
    if letter.lower() in _ASCII:
        if in_class:
            raise PatternError(f"expected no {word} in a class, got one")
        return f"[^{_ASCII[letter.lower()]}]"
    if in_class and letter in "bBAzZ":
        raise PatternError(f"expected no {word} in a class, got one")
    if letter in "bB":
        return f"(?a:{word})"
    if letter == "A":
        return word
    if letter == "z":
        return r"\Z"
    if letter in _KEPT:
        return word
    if letter.isalnum() or ord(letter) > 127:
        raise PatternError(f"expected an escape that RE2 and Python read alike, got {word}")
    return re.escape(letter)
