"""TLS and mutual TLS on the data port, from files that are read again when they change."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.lifecycle import check_settings
from serving.tls import TlsSettings
from tests import router_world as world
from tests.certificates import Pair, pair
from tests.router_process import request


def ask(port: int, trusted: Path, client: Pair | None = None) -> bytes:
    context = ssl.create_default_context(cafile=str(trusted))
    if client is not None:
        context.load_cert_chain(*client)
    raw = request(world.body(3), key=world.ROUTING_KEY, headers=(b"Connection: close",))
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wire,
    ):
        wire.sendall(raw)
        found = b""
        while chunk := wire.recv(65536):
            found += chunk
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[TlsSettings], int]]:
    from tests.router_process import RouterProcess

    running: list[RouterProcess] = []

    def begin(tls: TlsSettings) -> int:
        world.publish(tmp_path)
        router = RouterProcess(world.settings_for(tmp_path, tls=tls), tmp_path / "log")
        running.append(router)
        return router.wait_listening()

    yield begin
    for each in running:
        each.stop()


def test_answers_over_tls_and_takes_a_new_certificate(
    start: Callable[[TlsSettings], int], tmp_path: Path
) -> None:
    server = pair(tmp_path, "server")
    port = start(TlsSettings(*server))
    assert ask(port, server[0]).startswith(b"HTTP/1.1 200 OK")
    renewed = pair(tmp_path, "renewed")
    for new, old in zip(renewed, server, strict=True):
        old.write_bytes(new.read_bytes())
    for _ in range(500):
        try:
            assert ask(port, renewed[0]).startswith(b"HTTP/1.1 200 OK")
        except ssl.SSLCertVerificationError:
            continue
        return
    pytest.fail("the renewed certificate was not taken")


def test_mutual_tls_lets_in_known_clients_only(
    start: Callable[[TlsSettings], int], tmp_path: Path
) -> None:
    server, client, stranger = (pair(tmp_path, name) for name in ("server", "client", "stranger"))
    port = start(TlsSettings(*server, client_authority=client[0]))
    assert ask(port, server[0], client).startswith(b"HTTP/1.1 200 OK")
    for other in (None, stranger):
        try:
            found = ask(port, server[0], other)
        except (ssl.SSLError, ConnectionError):
            found = b""  # an alert or a plain end, as the versions of TLS have it
        assert found == b""


def test_files_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    server, other = pair(tmp_path, "server"), pair(tmp_path, "other")
    from compiler.errors import AppError

    settings = world.settings_for(tmp_path, tls=TlsSettings(server[0], other[1]))
    with pytest.raises(AppError) as caught:
        check_settings(settings)
    assert caught.value.code == "tls.files"
