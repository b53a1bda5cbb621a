"""Starts the peers that this installation has."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from loadtest.bench.measure import Requests
from loadtest.bench.node import Server, child, free_port

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    from loadtest.bench.credit import Node

PEERS = {
    "FastAPI + ORT": ("fastapi", "loadtest.bench.peers.fastapi_ort"),
    "Litestar + ORT": ("litestar", "loadtest.bench.peers.litestar_ort"),
    "FastAPI + scikit-learn": ("fastapi", "loadtest.bench.peers.fastapi_sklearn"),
}


def start_peers(
    stack: contextlib.ExitStack, node: Node, data: Path, cpu: int, tell: Callable[[str], None]
) -> list[tuple[Server, Requests]]:
    """Start every peer whose library is installed; the others are named and left out."""
    example: Any = msgspec.json.decode(node.bodies[0])["features"]
    started = []
    for name, (library, module) in PEERS.items():
        if importlib.util.find_spec(library) is None:
            tell(f"left out: {name} ({library} is not installed)")
            continue
        tell(f"starting {name}")
        port = free_port()
        source = data if "sklearn" in module else node.folder / "store" / "packages"
        words = (str(port), str(source), msgspec.json.encode(example).decode())
        command = [sys.executable, "-m", module, *words]
        log = node.folder / f"{module}.log"
        server = stack.enter_context(child(name, command, port, cpu, log, ready="/ready"))
        started.append((server, Requests("/predict", node.bodies)))
    return started
