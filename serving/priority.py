"""Threads that give way: loading and heavy scoring must not hold up the event loop's thread.

On Linux each thread has its own niceness, so a thread can step back without its process.
"""

from __future__ import annotations

import os
import threading

NICE = 10
"""About a ninth of the share of an ordinary thread when both want the same core."""


def yield_to_loop() -> None:
    """Let the calling thread run when no ordinary thread wants its core."""
    thread = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, thread) < NICE:
        os.setpriority(os.PRIO_PROCESS, thread, NICE)
