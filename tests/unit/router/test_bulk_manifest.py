"""The manifest counts what was finished, forgives a torn end and refuses damage elsewhere."""

from __future__ import annotations

import pytest

from router.bulk.errors import ManifestError
from router.bulk.manifest import Job, UnitLine, decode_manifest, encode_line

JOB = Job(
    "00" * 8, 1, "credit", 7, "sha256:aa", "in", ("a.csv",), "csv", (), 10, 5, 1, {"pyarrow": "1"}
)


def unit(number: int, rows: int = 10) -> UnitLine:
    return UnitLine(0, number, number * 10, rows, 30, "f", f"p-{number}", 1, "ab")


RAW = b"".join(map(encode_line, (JOB, unit(0), unit(1), unit(2))))


def test_every_prefix_of_a_manifest_reads_as_the_lines_that_were_finished():
    ends = [place + 1 for place, byte in enumerate(RAW) if byte == 10]
    for size in range(ends[0], len(RAW) + 1):
        found = decode_manifest(RAW[:size], "m")
        whole = sum(end <= size for end in ends) - 1
        assert sorted(found.units) == [(0, number) for number in range(whole)]
        assert found.sound == ends[whole]


def test_any_changed_byte_before_the_last_line_is_refused():
    last = RAW.rindex(b"\n", 0, -1)
    for place in range(last):
        damaged = bytearray(RAW)
        damaged[place] ^= 4
        with pytest.raises(ManifestError):
            decode_manifest(bytes(damaged), "m")


def test_changed_last_line_does_not_count():
    damaged = bytearray(RAW)
    damaged[-5] ^= 4
    assert sorted(decode_manifest(bytes(damaged), "m").units) == [(0, 0), (0, 1)]


def test_later_line_of_a_unit_holds():
    found = decode_manifest(RAW + encode_line(unit(1, rows=4)), "m")
    assert found.units[0, 1].rows == 4


@pytest.mark.parametrize("raw", [b"", encode_line(unit(0)), RAW + encode_line(JOB)])
def test_manifest_without_exactly_one_job_is_refused(raw):
    with pytest.raises(ManifestError):
        decode_manifest(raw, "m")
