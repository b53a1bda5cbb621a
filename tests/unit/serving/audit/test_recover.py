"""Reading segments whose writer was killed or whose bytes were damaged."""

import fcntl
import os

import pytest

from serving.audit.frame import HEADER_BYTES, RECORD, SegmentError, SegmentHeader
from serving.audit.recover import SegmentReader, remove_drafts, scan
from serving.audit.segment import SegmentWriter

RECORDS = [f"record {k} {'*' * (k % 17)}".encode() for k in range(1, 31)]


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """A sealed segment's path, its used bytes, and the (start, end) of each record's frame."""
    folder = tmp_path_factory.mktemp("spool")
    spool = SegmentWriter(folder, "n1", 0, segment_bytes=16 * 1024)
    for each in RECORDS:
        spool.append(each)
    spool.close()
    path = next((folder / "n1").glob("*.seg"))
    with SegmentReader(path) as reader:
        frames = list(reader.frames(dead=True))
    return path, path.read_bytes()[: frames[-1].end], [(f.start, f.end) for f in frames[:-1]]


def read(path):
    with SegmentReader(path) as reader:
        frames = [frame for frame in reader.frames(dead=True) if frame.kind == RECORD]
        return [(f.seq, f.payload) for f in frames], reader


def test_every_prefix_length_gives_exactly_the_whole_records_in_it(segment, tmp_path):
    path, data, spans = segment
    torn = tmp_path / path.name
    for length in range(len(data) + 1):
        torn.write_bytes(data[:length])
        got, reader = read(torn)
        payload_ends = [start + 16 + len(r) for (start, _), r in zip(spans, RECORDS, strict=True)]
        whole = sum(1 for end in payload_ends if end <= length)
        assert got == list(enumerate(RECORDS[:whole], start=1)), length
        assert reader.damaged_places == 0


def test_every_torn_tail_in_a_preallocated_file_ends_the_log_there(segment, tmp_path):
    path, data, spans = segment
    torn = tmp_path / path.name
    for length in range(HEADER_BYTES, len(data)):
        torn.write_bytes(data[:length].ljust(16 * 1024, b"\0"))
        got, _ = read(torn)
        # A cut inside the padding or in trailing zero bytes of a payload loses nothing.
        least = sum(1 for _, end in spans if end <= length)
        assert len(got) in (least, least + 1), length
        assert got == list(enumerate(RECORDS[: len(got)], start=1))


def test_every_byte_flip_loses_at_most_the_touched_record_and_is_counted(segment, tmp_path):
    path, data, spans = segment
    damaged = tmp_path / path.name
    everything = list(enumerate(RECORDS, start=1))
    for position in range(len(data)):
        for mask in (0x03, 0xFF):
            changed = bytearray(data)
            changed[position] ^= mask
            damaged.write_bytes(changed)
            got, reader = read(damaged)
            touched = next((k for k, (a, b) in enumerate(spans) if a <= position < b), None)
            if touched is None:
                assert got == everything, (position, mask)
                continue
            assert got in (everything, everything[:touched] + everything[touched + 1 :])
            if got != everything:
                assert reader.damaged_places == 1, (position, mask)
                assert reader.damaged_bytes == spans[touched][1] - spans[touched][0]


def test_damaged_header_is_noticed_and_the_file_name_stands_in(segment, tmp_path):
    path, data, _ = segment
    damaged = tmp_path / "n1" / path.name
    damaged.parent.mkdir()
    damaged.write_bytes(b"\0" * 64 + data[64:])
    got, reader = read(damaged)
    assert reader.header_damaged
    assert (reader.header.node, reader.header.boot) == ("n1", path.name[:16])
    assert len(got) == len(RECORDS)


def test_file_of_another_kind_is_refused_by_name(tmp_path):
    stranger = tmp_path / "notes.txt"
    stranger.write_text("hello")
    with pytest.raises(SegmentError, match="boot"):
        SegmentReader(stranger)


def test_bytes_in_a_payload_that_imitate_a_frame_are_not_taken_for_one(segment, tmp_path):
    _, data, spans = segment
    folder = tmp_path / "spool"
    spool = SegmentWriter(folder, "n1", 0, segment_bytes=16 * 1024)
    start, end = spans[20]
    spool.append(b"first")
    spool.append(data[start:end])  # a good frame of another boot, as an attacker would send it
    spool.append(b"third")
    spool.close()
    target = next((folder / "n1").glob("*.seg"))
    changed = bytearray(target.read_bytes())
    with SegmentReader(target) as reader:
        second = list(reader.frames(dead=True))[1]
    changed[second.start + 4] ^= 0xFF
    target.write_bytes(changed)
    assert [payload for _, payload in read(target)[0]] == [b"first", b"third"]


def test_live_tail_is_waited_for_and_not_called_damage(tmp_path):
    spool = SegmentWriter(tmp_path, "n1", 0, segment_bytes=16 * 1024)
    spool.append(b"one")
    path = next((tmp_path / "n1").glob("*-00000001.seg"))
    with SegmentReader(path) as reader:
        assert reader.writer_lives()
        assert [f.payload for f in reader.frames(dead=False)] == [b"one"]
        assert list(reader.frames(dead=False)) == []
        spool.append(b"two")
        assert [f.payload for f in reader.frames(dead=False)] == [b"two"]
        assert reader.damaged_places == 0
        spool.close()
        assert not reader.writer_lives()


def test_scan_continues_from_an_offset(segment):
    path, _, spans = segment
    assert [payload for _, _, payload in scan(path, spans[25][0])] == RECORDS[25:]


def test_sequences_are_read_back_across_the_end_of_32_bits(tmp_path):
    spool = SegmentWriter(tmp_path, "n1", 0, segment_bytes=16 * 1024)
    spool.last_seq = (1 << 32) - 3
    made = [spool.append(each) for each in RECORDS[:6]]
    spool.close()
    assert made == list(range((1 << 32) - 2, (1 << 32) + 4))
    got, reader = read(next((tmp_path / "n1").glob("*.seg")))
    assert got == list(zip(made, RECORDS[:6], strict=True))
    assert reader.damaged_places == 0


def test_writer_name_tells_node_boot_and_worker():
    header = SegmentHeader("n1", "00ff", 2, 3, 10, 0)
    assert (header.writer, header.name) == ("n1/00ff/2", "00ff-2-00000003.seg")


def test_half_made_segments_of_killed_workers_are_removed_and_living_ones_stay(tmp_path):
    left, held, young = (tmp_path / f"00ff-{k}-00000001.new" for k in range(3))
    for path in (left, held, young):
        path.write_bytes(bytes(100))
    (tmp_path / "shipper.json.new").write_bytes(b"{}")
    for path in (left, held):
        os.utime(path, (1000, 1000))
    os.utime(young, (1950, 1950))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_drafts(tmp_path, 60, 2000) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [held.name, young.name, "shipper.json.new"]
    )
