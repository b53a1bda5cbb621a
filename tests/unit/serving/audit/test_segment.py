"""The spool's writer."""

import os
import threading

import pytest

from serving.audit import segment as segment_module
from serving.audit.frame import GAP, GAP_BODY, RECORD, SEAL
from serving.audit.recover import SegmentReader, scan
from serving.audit.room import SpoolFull
from serving.audit.segment import RecordTooLarge, SegmentWriter

SMALL = 16 * 1024


def writer(folder, **options):
    options.setdefault("segment_bytes", SMALL)
    return SegmentWriter(folder, "n1", 0, **options)


def files(folder):
    return sorted((folder / "n1").glob("*.seg"))


def payloads(folder):
    return [payload for path in files(folder) for _, _, payload in scan(path)]


def test_appended_records_are_read_back_in_order_with_gapless_numbers(tmp_path):
    spool = writer(tmp_path)
    sent = [os.urandom(1 + 13 * k) for k in range(300)]
    assert [spool.append(each) for each in sent] == list(range(1, 301))
    spool.close()
    got = [(seq, payload) for path in files(tmp_path) for seq, _, payload in scan(path)]
    assert got == list(enumerate(sent, start=1))


def test_record_is_readable_by_another_process_before_close(tmp_path):
    spool = writer(tmp_path)
    spool.append(b"acknowledged")
    child = os.fork()
    if child == 0:
        os._exit(0 if b"acknowledged" in payloads(tmp_path) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.close()


def test_full_segment_is_sealed_and_never_written_again(tmp_path):
    spool = writer(tmp_path)
    spool.append(b"first")
    first = files(tmp_path)[0]
    while len(files(tmp_path)) < 3:
        spool.append(b"x" * 100)
    before = first.read_bytes()
    with SegmentReader(first) as reader:
        kinds = [frame.kind for frame in reader.frames(dead=False)]
        assert reader.sealed
    assert kinds[-1] == SEAL
    spool.append(b"later")
    spool.close()
    assert first.read_bytes() == before


def test_names_are_not_reused_by_the_next_boot(tmp_path):
    first, second = writer(tmp_path), writer(tmp_path)
    assert first.boot != second.boot
    first.close()
    second.close()
    assert len({path.name for path in files(tmp_path)}) == 2


def test_close_leaves_no_empty_spare_and_is_idempotent(tmp_path):
    spool = writer(tmp_path)
    spool.append(b"one")
    spool.close()
    spool.close()
    assert len(files(tmp_path)) == 1
    with pytest.raises(SpoolFull):
        spool.append(b"two")


def test_record_larger_than_a_segment_is_refused_and_nothing_is_lost(tmp_path):
    spool = writer(tmp_path)
    spool.append(b"before")
    with pytest.raises(RecordTooLarge):
        spool.append(b"x" * SMALL)
    assert spool.append(b"y" * spool.max_payload) == 2
    spool.close()
    assert payloads(tmp_path) == [b"before", b"y" * spool.max_payload]


def test_full_spool_refuses_at_once_and_heals_when_room_returns(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_module, "RETRY_S", 0.005)
    spool = writer(tmp_path, spool_limit_bytes=2 * SMALL)
    fill = iter(lambda: spool.append(b"x" * 1000), 0)
    with pytest.raises(SpoolFull, match="spool holds"):
        list(fill)
    kept = spool.last_seq
    assert kept > 20
    for path in files(tmp_path)[:1]:
        path.unlink()
    room = threading.Event()
    for _ in range(2000):
        try:
            assert spool.append(b"again") == kept + 1
        except SpoolFull:
            room.wait(0.005)
        else:
            break
    else:
        pytest.fail("the writer did not notice the room")
    spool.close()


def test_dropped_records_keep_their_numbers_and_leave_a_counted_gap(tmp_path):
    spool = writer(tmp_path, clock=lambda: 77)
    spool.append(b"one")
    assert [spool.drop(), spool.drop()] == [2, 3]
    assert spool.append(b"four") == 4
    spool.close()
    with SegmentReader(files(tmp_path)[0]) as reader:
        frames = [(f.kind, f.seq, f.payload) for f in reader.frames(dead=True)]
    assert frames[:3] == [
        (RECORD, 1, b"one"),
        (GAP, 3, GAP_BODY.pack(2, 77)),
        (RECORD, 4, b"four"),
    ]
    assert spool.dropped == 2


def test_gap_owed_at_close_is_written(tmp_path):
    spool = writer(tmp_path)
    spool.append(b"one")
    spool.drop()
    spool.close()
    with SegmentReader(files(tmp_path)[0]) as reader:
        assert [f.kind for f in reader.frames(dead=True)] == [RECORD, GAP, SEAL]


def test_answers_are_counted_in_the_file(tmp_path):
    spool = writer(tmp_path)
    for _ in range(3):
        spool.append(b"x")
        spool.count_answer()
    with SegmentReader(files(tmp_path)[0]) as reader:
        assert reader.answered == 3
    spool.close()


def test_sync_covers_everything_appended(tmp_path):
    spool = writer(tmp_path)
    for _ in range(40):
        spool.append(b"x" * 1000)
    assert spool.sync() == 40
    spool.close()
