"""Whether a port is free, before anything is started."""

from __future__ import annotations

import errno
import socket

from compiler.errors import AppError
from interlock.settings import Environment


class PortError(AppError):
    """A port that is needed cannot be had."""

    code = "port.in_use"


def check_ports(env: Environment) -> None:
    """Prove that both ports of the stack are free.

    Raises:
        PortError: one is not, or they are the same.
    """
    if env.port == env.control_port:
        raise PortError(
            f"port {env.port} cannot be both the data plane's and the control plane's",
            code="port.twice",
            hint="choose another one with --control-port",
        )
    check_port(env.bind, env.port, "--port")
    check_port(env.bind, env.control_port, "--control-port")


def check_port(bind: str, port: int, option: str) -> None:
    """Prove that ``bind:port`` can be listened on.

    The test socket does not share its port, so it also fails where an earlier listener allows
    sharing (SO_REUSEPORT) and a second router would silently take half of its connections.

    Raises:
        PortError: in use, not ours to take, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
            probe.listen(1)
        except OSError as error:
            raise _explain(bind, port, option, error) from None


def _explain(bind: str, port: int, option: str, error: OSError) -> PortError:
    if error.errno == errno.EADDRINUSE:
        return PortError(
            f"port {port} on {bind} is in use by another program",
            at=f"{bind}:{port}",
            hint=f"choose another one with {option}, or find the program with: "
            f"ss -ltnp 'sport = :{port}'",
        )
    if error.errno == errno.EACCES:
        return PortError(
            f"port {port} needs privileges that this user does not have",
            code="port.privileged",
            at=f"{bind}:{port}",
            hint=f"choose a port above 1023 with {option}",
        )
    return PortError(
        f"cannot listen on {bind}:{port}: {(error.strerror or str(error)).lower()}",
        code="port.unusable",
        at=f"{bind}:{port}",
        hint="INTERLOCK_BIND must be an address of this machine",
    )
