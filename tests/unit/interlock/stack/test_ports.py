"""Ports are proved free before anything starts."""

import socket

import pytest

from interlock.stack.ports import PortError, check_port


def listener(*, shared: bool) -> socket.socket:
    server = socket.socket()
    if shared:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


@pytest.mark.parametrize("shared", [False, True])
def test_port_in_use_is_named_with_the_option_that_changes_it(shared):
    with listener(shared=shared) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} on 127.0.0.1 is in use") as error:
            check_port("127.0.0.1", port, "--control-port")
    assert "--control-port" in error.value.hint


def test_port_is_still_free_after_the_check():
    with listener(shared=False) as server:
        port = server.getsockname()[1]
    check_port("127.0.0.1", port, "--port")
    check_port("127.0.0.1", port, "--port")


def test_address_of_another_machine_is_explained():
    with pytest.raises(PortError, match=r"cannot listen on 192\.0\.2\.1") as error:
        check_port("192.0.2.1", 8080, "--port")
    assert "INTERLOCK_BIND" in error.value.hint
