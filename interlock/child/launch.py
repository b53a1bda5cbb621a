"""Becomes another program that dies with its parent; run as a script, imports only the basics.

    python -I -S launch.py PARENT_PID SIGNAL UID GID SOCKETS COMMAND [ARGUMENT ...]

SOCKETS are file descriptors with commas between them, or ``-``; the command finds them from 3
upwards, as sd_listen_fds(3) describes it.

The death signal is set here and not in ``preexec_fn``, because that runs Python between fork and
exec, which deadlocks in a process with threads. It is set after the user is changed, because the
kernel clears it on every change of credentials; and the parent is compared afterwards, because it
may have died before the signal was set.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
FIRST_SOCKET = 3
OUT_OF_THE_WAY = 200


def main() -> None:
    """Drop privileges, tie this process to its parent, become the command."""
    parent, signal_number, uid, gid = (int(word) for word in sys.argv[1:5])
    sockets, command = sys.argv[5], sys.argv[6:]
    if sockets != "-":
        hand_over([int(word) for word in sockets.split(",")])
    program = find(command[0])  # before the user changes: he may not be able to read our library
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process ended before this one started")
    try:
        os.execv(program, command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"cannot run {program}: {error.strerror}")


def find(name: str) -> str:
    """Path of a program; a name without a slash is looked up on the path."""
    if "/" in name:
        return name
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)  # noqa: PTH118 - pathlib costs more than this whole script
        if os.access(path, os.X_OK):
            return path
    sys.exit(f"cannot run {name}: it is not on the path")


def hand_over(sockets: list[int]) -> None:
    """Move inherited sockets to where the command looks for them."""
    for number, descriptor in enumerate(sockets):
        os.dup2(descriptor, OUT_OF_THE_WAY + number, inheritable=False)
    for number in range(len(sockets)):
        os.dup2(OUT_OF_THE_WAY + number, FIRST_SOCKET + number, inheritable=True)
    os.environ["LISTEN_FDS"] = str(len(sockets))
    os.environ["LISTEN_PID"] = str(os.getpid())  # exec keeps it


if __name__ == "__main__":
    main()
