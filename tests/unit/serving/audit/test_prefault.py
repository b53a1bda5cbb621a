"""A prefaulted file costs the event loop no page fault and the disk cannot run out under it."""

import mmap
import os
import resource

from serving.audit.prefault import PIECE_BYTES, prefault
from serving.priority import NICE, give_way

PAGES = 512


def faults():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def test_storing_into_a_prefaulted_mapping_faults_in_no_page(tmp_path):
    size = PAGES * mmap.PAGESIZE
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, size)
    with mmap.mmap(fd, size) as mapped:
        prefault(fd, mapped)
        before = faults()
        for at in range(0, size, mmap.PAGESIZE):
            mapped[at] = 1
        assert faults() - before < PAGES // 20  # the interpreter has a few of its own
    os.close(fd)


def test_sizes_that_no_piece_divides_are_zeroed_to_the_last_byte_and_not_beyond(tmp_path):
    size = PIECE_BYTES + 3 * mmap.PAGESIZE
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, size)
    with mmap.mmap(fd, size) as mapped:
        prefault(fd, mapped)
        assert not any(mapped[:])
    assert os.fstat(fd).st_size == size
    os.close(fd)


def test_thread_that_gives_way_has_a_lower_priority_than_the_others():
    import threading

    seen = []

    def work():
        give_way()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [NICE]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
