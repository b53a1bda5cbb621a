"""Becomes another program that dies with its parent; run as a script, imports only the basics.

    python -I -S launch.py PARENT_PID SIGNAL UID GID COMMAND [ARGUMENT ...]

The death signal is set here and not in ``preexec_fn``, because that runs Python between fork and
exec, which deadlocks in a process with threads. It is set after the user is changed, because the
kernel clears it on every change of credentials; and the parent is compared afterwards, because it
may have died before the signal was set.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop privileges, tie this process to its parent, become the command."""
    parent, signal_number, uid, gid = (int(word) for word in sys.argv[1:5])
    command = sys.argv[5:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process ended before this one started")
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
