"""Fault in the pages of a mapping ahead of need, off the event loop and without holding the GIL."""

from __future__ import annotations

import ctypes
import mmap

MADV_POPULATE_WRITE = 23
"""Linux 5.14: fault pages in for writing."""
SLICE_BYTES = 256 << 10
"""Pages per call: short enough that an append which meets the kernel's lock waits microseconds."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.madvise.restype = ctypes.c_int


def prefault(mapped: mmap.mmap) -> None:
    """Make every page of a fresh, zeroed mapping present and writable.

    Foreign calls release the GIL, so that the event loop goes on meanwhile. Kernels without
    ``MADV_POPULATE_WRITE`` get zeros written instead, which is why the mapping must be fresh.
    """
    size = len(mapped)
    anchor = ctypes.c_char.from_buffer(mapped)
    start = ctypes.addressof(anchor)
    populate = True
    try:
        for offset in range(0, size, SLICE_BYTES):
            length = min(SLICE_BYTES, size - offset)
            if populate:
                populate = _libc.madvise(start + offset, length, MADV_POPULATE_WRITE) == 0
            if not populate:
                ctypes.memset(start + offset, 0, length)
    finally:
        del anchor  # the mapping cannot be closed while a pointer into it exists
