"""R8, long form: every truncation and every byte flip of a segment of 200 real records."""

import pytest

from serving.audit.frame import FRAME_BYTES, HEADER_BYTES, RECORD
from serving.audit.record import decode_record
from serving.audit.recover import SegmentReader

RECORDS = 200


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """Name, used bytes, payloads and spans of a sealed segment."""
    from tests.spool import Source

    source = Source(tmp_path_factory.mktemp("spool"))
    writer = source.writer(segment_bytes=256 * 1024)
    source.append(writer, RECORDS)
    writer.close()
    path = next((source.root / "n1").glob("*.seg"))
    with SegmentReader(path) as reader:
        frames = list(reader.frames(dead=True))
    assert len(frames) == RECORDS + 1
    data = path.read_bytes()[: frames[-1].end]
    payloads = [frame.payload for frame in frames[:-1]]
    assert [decode_record(each).id for each in payloads] == source.acknowledged
    return path.name, data, payloads, [(frame.start, frame.end) for frame in frames[:-1]]


def payloads_of(path, data):
    path.write_bytes(data)
    with SegmentReader(path) as reader:
        return [frame.payload for frame in reader.frames(dead=True) if frame.kind == RECORD], reader


@pytest.mark.slow
def test_every_truncation_gives_exactly_the_whole_records_before_it(segment, tmp_path):
    name, data, payloads, spans = segment
    ends = [
        start + FRAME_BYTES + len(each) for (start, _), each in zip(spans, payloads, strict=True)
    ]
    whole = 0
    for length in range(HEADER_BYTES, len(data) + 1):
        while whole < RECORDS and ends[whole] <= length:
            whole += 1
        got, reader = payloads_of(tmp_path / name, data[:length])
        assert got == payloads[:whole], length
        assert reader.damaged_places == 0, length


@pytest.mark.slow
def test_every_byte_flip_loses_at_most_the_touched_record_and_is_counted(segment, tmp_path):
    name, data, payloads, spans = segment
    touched = 0
    for position in range(HEADER_BYTES, len(data)):
        while touched < RECORDS and spans[touched][1] <= position:
            touched += 1
        changed = bytearray(data)
        changed[position] ^= 0xFF
        got, reader = payloads_of(tmp_path / name, changed)
        if got != payloads:
            assert got == payloads[:touched] + payloads[touched + 1 :], position
            assert reader.damaged_places == 1, position
