"""Threads that give way: loading and heavy scoring must not hold up the event loop's thread.

On Linux each thread has its own niceness, so a thread can step back without its process.
"""

from __future__ import annotations

import gc
import os
import sys
import threading

NICE = 10
"""About a ninth of the share of an ordinary thread when both want the same core."""


def yield_to_loop() -> None:
    """Let the calling thread run when no ordinary thread wants its core."""
    thread = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, thread) < NICE:
        os.setpriority(os.PRIO_PROCESS, thread, NICE)


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
