"""Row ids that are fixed by the job: a row that is scored again has the id it had before."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray


def row_ids(job: str, now_us: int, file: int, first_row: int, rows: int) -> NDArray[np.uint8]:
    """UUIDv7s of consecutive rows of one file.

    The time is the job's; the random bits come from a digest of job and file, and the last 40 hold
    the row number, so ids of one file are different without a doubt.

    Args:
        job: id of the job.
        now_us: its clock, microseconds since the epoch.
        file: place of the file in the job's inputs.
        first_row: number of the first row.
        rows: how many.

    Returns:
        Bytes, shape (rows, 16).
    """
    seed = sha256(f"{job}/{file}".encode()).digest()
    found = np.empty((rows, 16), np.uint8)
    found[:, :6] = np.frombuffer((now_us // 1000).to_bytes(6, "big"), np.uint8)
    found[:, 6] = 0x70 | seed[0] & 0x0F
    found[:, 7] = seed[1]
    found[:, 8] = 0x80 | seed[2] & 0x3F
    found[:, 9:11] = np.frombuffer(seed[3:5], np.uint8)
    numbers = np.arange(first_row, first_row + rows, dtype=">u8")
    found[:, 11:] = numbers.view(np.uint8).reshape(rows, 8)[:, 3:]
    return found
