"""A command in a session of its own, while whoever started it still controls it.

Linux shares the processor among sessions before it looks at priorities, so that what is started
from a shell cannot give way to a router without a session of its own. The terminal's signals would
then no longer reach it: the process that was started stays behind and passes them on.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from serving.lifeline import die_with

PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


def in_own_session() -> None:
    """Go on in a child that leads a session, unless this process does.

    The caller becomes the child; the process that was called waits for it, passes signals on and
    ends as it does. Only before threads are started.
    """
    if os.getsid(0) == os.getpid():
        return
    caller = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED)
    child = os.fork()
    if child:
        _stand_for(child)
    os.setsid()
    die_with(caller, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED)


def _stand_for(child: int) -> None:
    """Pass signals on to a process and end as it ends."""

    def pass_on(number: int, _: FrameType | None) -> None:
        if number != signal.SIGTSTP:
            os.kill(child, number)
            return
        os.kill(child, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(child, signal.SIGCONT)  # the terminal has let us go on

    for number in PASSED:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
