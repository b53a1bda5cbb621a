"""Threads that give way: what is done beside the event loop must not hold up its thread.

On Linux each thread has its own niceness, so a thread can step back without its process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import struct
import sys
import threading
from pathlib import Path

NICE = 10
"""About a ninth of the share of an ordinary thread when both want the same core."""
LAST = 19
"""The lowest niceness."""
SLICE_NS = 100_000_000
"""Longest that Linux takes."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES = struct.Struct("<IIQiIQQQ")
SCHED_OTHER = 0


def give_way() -> None:
    """Lower the calling thread's priority and ask for a long slice, as far as the system lets it.

    Linux leaves a running thread alone until its slice is over (4 ms stalls were measured), unless
    one with a shorter slice wakes up. So the long slice is what lets the loop in immediately; it
    takes Linux 6.12, and is ignored before. A thread that takes leftovers already stays at that.
    """
    if os.sched_getscheduler(0) == os.SCHED_IDLE:
        return
    with contextlib.suppress(OSError):  # a seccomp filter may forbid it; then it stays equal
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    _set(SCHED_OTHER, NICE)


def take_leftovers() -> None:
    """Have the calling thread, and those it starts, run only when nobody else wants the core.

    Unlike a low priority it holds nobody up who wakes, however much it has had already.
    """
    with contextlib.suppress(OSError):  # a seccomp filter may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if os.sched_getscheduler(0) == os.SCHED_IDLE:
        _set(os.SCHED_IDLE, 0)
    else:
        give_way()
    _lower_session(LAST)


def step_back() -> None:
    """Have this whole process give way: threads that it starts inherit the priority."""
    give_way()
    _lower_session(NICE)


def _lower_session(nice: int) -> None:
    """Have all of this process's session give way to other sessions.

    Linux shares the processor among sessions first (autogroups, sched(7)): a priority counts within
    its session only, and every role of a node has one. Does nothing unless this process leads its
    session: others who live in one could not undo it.
    """
    if os.getsid(0) != os.getpid():
        return
    with contextlib.suppress(OSError):  # there are no autogroups, or /proc is read only
        Path("/proc/self/autogroup").write_text(f"{nice}")


def _set(policy: int, nice: int) -> None:
    """Policy and slice of the calling thread; refused on older systems, which changes nothing."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is not None:
        size = _ATTRIBUTES.size
        wanted = _ATTRIBUTES.pack(size, policy, 0, nice, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, wanted, 0)


SWITCH_S = 0.0001
"""How long a thread may keep the interpreter while the event loop waits for it."""
GC_THRESHOLDS = (50_000, 20, 100)
"""A worker makes little garbage that needs the collector; a full round takes milliseconds."""


def favour_loop() -> None:
    """Make this process answer evenly: short turns between threads, rare collections.

    To be called once, when everything that stays has been loaded: it is set aside from
    collections. What is loaded later is freed by its last reference, without the collector.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
