"""The stack over TLS on both ports, and over mutual TLS."""

import http.client
import ssl
from pathlib import Path

import pytest

from tests.certificates import Pair, pair


def status(port: str, trusted: Path, client: Pair | None = None) -> int:
    context = ssl.create_default_context(cafile=str(trusted))
    if client is not None:
        context.load_cert_chain(*client)
    connection = http.client.HTTPSConnection("localhost", int(port), timeout=10, context=context)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status
    finally:
        connection.close()


def test_both_ports_speak_tls_to_known_clients(open_folder, module_ports, start_stack):
    server, client = pair(open_folder, "server"), pair(open_folder, "client")
    given = {
        "INTERLOCK_TLS_CERTIFICATE": str(server[0]),
        "INTERLOCK_TLS_KEY": str(server[1]),
        "INTERLOCK_TLS_CLIENT_CA": str(client[0]),
    }
    stack = start_stack(open_folder / "home", module_ports, given)
    for port in module_ports[1::2]:
        assert status(port, server[0], client) == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            status(port, server[0])
    assert stack.state()["urls"]["router"].startswith("https://127.0.0.1:")
    assert stack.stop() == 0
