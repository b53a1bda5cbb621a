"""A kernel timer on the event loop, because uvloop's own timers count whole milliseconds.

Source: timerfd_create(2). CPython gained it in 3.13; 3.11 and 3.12 reach it through libc.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import TYPE_CHECKING

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_SECOND = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Timer:
    """Calls back once, at an absolute time of ``time.monotonic_ns``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        if not sys.platform.startswith("linux"):
            raise LoadTestError("the generator's timer needs Linux", at="timerfd")
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise LoadTestError(f"timerfd_create: {os.strerror(ctypes.get_errno())}")
        self._spec = _TimerSpec()
        self._address = ctypes.addressof(self._spec)
        self._loop = loop
        loop.add_reader(self._fd, callback)

    def arm(self, due_ns: int) -> None:
        """Set the next call; a time in the past calls at once.

        Setting also takes back an expiry that was not read, so the callback never reads the timer.
        """
        value = self._spec.value
        # the kernel takes 0 for "disarm", so a past time is moved to 1 ns after boot
        value.seconds, value.nanoseconds = divmod(due_ns if due_ns > 0 else 1, _SECOND)
        self._settime(self._fd, _ABSOLUTE, self._address, None)

    def disarm(self) -> None:
        """No further call until armed again."""
        value = self._spec.value
        value.seconds = value.nanoseconds = 0
        self._settime(self._fd, 0, self._address, None)

    def close(self) -> None:
        """Give the timer back to the kernel."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def now_ns() -> int:
    """The clock of every time in a run: monotonic nanoseconds, one for all processes."""
    return time.monotonic_ns()
