"""Pieces of the tables that a batch leaves: words by number, ids, what came."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from router.columnar.inputs import ID, SUBJECT, column_name
from serving.audit.parts import INPUT

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from serving.scatter import Answers


class Names:
    """Words by number, as dictionary columns; the words are put into Arrow once.

    Args:
        words: by number; None is null.
    """

    def __init__(self, words: Sequence[str | None]) -> None:
        known = list(dict.fromkeys(word for word in words if word is not None))
        self._known = known or [""]
        numbers = [-1 if word is None else known.index(word) for word in words]
        self._places = np.asarray(numbers, np.int32)
        self._some = None in words

    @cached_property
    def _dictionary(self) -> Any:
        import pyarrow as pa

        return pa.array(self._known, pa.string())

    def column(self, numbers: NDArray[np.intp], mask: NDArray[np.bool_] | None) -> Any:
        """The words of some numbers.

        Args:
            numbers: shape (rows,).
            mask: shape (rows,), rows that are null; None for none.
        """
        import pyarrow as pa

        places = self._places.take(numbers)
        if self._some:
            mask = places < 0 if mask is None else mask | (places < 0)
        return pa.DictionaryArray.from_arrays(pa.array(places, mask=mask), self._dictionary)


def label_and_value(answers: Answers) -> tuple[Any, Any]:
    """The short answer: a label, else a number (of a clustering the cluster)."""
    import pyarrow as pa

    rows = len(answers.answered)
    none = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), pa.array([""], pa.string()))
    missing = ~answers.answered
    if answers.codes is not None:
        codes = pa.array(answers.codes, mask=missing)
        words = pa.array(answers.classes.tolist(), pa.string())
        return pa.DictionaryArray.from_arrays(codes, words), pa.nulls(rows, pa.float64())
    numbers = answers.values if answers.clusters is None else answers.clusters
    assert numbers is not None
    return none, pa.array(numbers.astype(np.float64), mask=missing)


def given(
    batch: pa.RecordBatch, features: Mapping[str, Any], subject_ref: Callable[[str], str]
) -> dict[str, Any]:
    """What came, as evidence: a column per feature, the caller's ids, hashes of subjects."""
    import pyarrow as pa

    names = set(batch.schema.names)
    found: dict[str, Any] = {}
    if ID in names:
        found["request_id"] = batch.column(ID).cast(pa.string())
    if SUBJECT in names:
        subjects = batch.column(SUBJECT).cast(pa.string()).dictionary_encode()
        refs = [None if s is None else subject_ref(s) for s in subjects.dictionary.to_pylist()]
        found["subject_ref"] = pa.array(refs, pa.string()).take(subjects.indices)
    for name in features:
        column = column_name(name)
        if column in names:
            found[INPUT + name] = batch.column(column)
    return found


_WIDTH = 36
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
"""Digits of a UUID between its dashes."""


def id_words(raw: NDArray[np.uint8]) -> Any:
    """UUIDs as they are written: bytes of shape (rows, 16) to a string array.

    >>> id_words(np.zeros((1, 16), np.uint8))[0].as_py()
    '00000000-0000-0000-0000-000000000000'
    """
    import pyarrow as pa

    rows = len(raw)
    text = np.full((rows, _WIDTH), ord("-"), np.uint8)
    digits = np.frombuffer(raw.tobytes().hex().encode(), np.uint8).reshape(rows, 32)
    for dashes, (start, end) in enumerate(_GROUPS):
        text[:, start + dashes : end + dashes] = digits[:, start:end]
    offsets = np.arange(0, (rows + 1) * _WIDTH, _WIDTH, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))


def random_ids(rows: int) -> NDArray[np.uint8]:
    """UUIDs of version 7 that share a millisecond, random otherwise."""
    raw = np.frombuffer(bytearray(os.urandom(rows * 16)), np.uint8).reshape(rows, 16)
    raw[:, :6] = np.frombuffer((time.time_ns() // 1_000_000).to_bytes(6, "big"), np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x70
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return raw
