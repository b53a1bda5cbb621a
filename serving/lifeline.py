"""A process that ends with the one that started it, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int, number: int) -> None:
    """Have the kernel send this process a signal when its parent has ended.

    To be called by the first thread, before anything else: the parent is compared afterwards,
    because it may have ended before. Does nothing where there is no Linux.

    Args:
        parent: process that started this one.
        number: the signal.

    Raises:
        SystemExit: the parent has ended already.

    Source: PR_SET_PDEATHSIG(2const).
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process ended before this one started")
