"""Peers that cannot be installed beside us, each in a Python environment of its own.

``--peer-env NAME=PYTHON`` names the interpreter; it needs the peer's library, numpy and
onnxruntime. What runs there is copied to a folder that holds nothing else, so that nothing of ours
is found by accident.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from loadtest.bench.measure import Requests, v2_requests
from loadtest.bench.node import Server, child, free_port
from loadtest.errors import LoadTestError, TargetError
from loadtest.preflight import exchange
from loadtest.requests import build_request

if TYPE_CHECKING:
    import contextlib

    from loadtest.bench.credit import Node

COMPARED = 60
"""Rows whose answers have to be ours before anything is timed."""
NEAR = 1e-5


class Outside(Struct, frozen=True):
    """One peer.

    Attributes:
        title: for tables.
        module: beside this one.
        needs: module that has to be there.
        install: what to install.
        ready: path that answers 200 when it serves.
        v2: it speaks the Open Inference Protocol.
    """

    title: str
    module: str
    needs: str
    install: str
    ready: str
    v2: bool = False


OUTSIDE: dict[str, Outside] = {
    "mlserver": Outside(
        "MLServer + ORT", "mlserver_ort", "mlserver", "mlserver", "/v2/health/ready", v2=True
    ),
    "bentoml": Outside("BentoML + ORT", "bentoml_ort", "bentoml", "bentoml", "/readyz"),
    "litserve": Outside("LitServe + ORT", "litserve_ort", "litserve", "litserve", "/health"),
    "triton": Outside(
        "Triton Python + ORT",
        "triton_python",
        "pytriton",
        "nvidia-pytriton",
        "/v2/health/ready",
        v2=True,
    ),
    "rayserve": Outside("Ray Serve + ORT", "rayserve_ort", "ray.serve", "ray[serve]", "/predict"),
}


def read_peer_envs(words: tuple[str, ...]) -> dict[str, Path]:
    """Interpreters by peer.

    Raises:
        LoadTestError: not ``NAME=PYTHON``, an unknown name, or no such file.
    """
    found = {}
    for word in words:
        name, _, python = word.partition("=")
        if name not in OUTSIDE or not python or not Path(python).exists():
            raise LoadTestError(
                f"expected NAME=PYTHON with one of {', '.join(OUTSIDE)} and an interpreter, "
                f"got {word!r}",
                at="--peer-env",
            )
        found[name] = Path(python)
    return found


def start_outside(
    stack: contextlib.ExitStack, node: Node, envs: Mapping[str, Path], cpu: int,
    tell: Callable[[str], None],
) -> list[tuple[Server, Requests]]:  # fmt: skip
    """Start every peer that has an environment; the others are named with what they lack."""
    started = []
    root = _copy(node.folder / "peers")
    for name, peer in OUTSIDE.items():
        python = envs.get(name)
        if python is None:
            tell(f"left out: {peer.title} (no --peer-env {name}=PYTHON with {peer.install!r})")
            continue
        probe = subprocess.run(
            [python, "-c", f"import {peer.needs}, onnxruntime, numpy"],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if probe.returncode:
            tell(f"left out: {peer.title} ({probe.stderr.strip().splitlines()[-1]})")
            continue
        tell(f"starting {peer.title}")
        port, module = free_port(), f"loadtest.bench.peers.{peer.module}"
        words = [str(port), str(node.folder / "store" / "packages"), str(root / peer.module)]
        command = [str(python), "-m", module, *words]
        log = node.folder / f"{peer.module}.log"
        try:
            server = stack.enter_context(
                child(peer.title, command, port, cpu, log, ready=peer.ready, folder=root)
            )
        except TargetError as error:
            tell(f"left out: {peer.title} ({str(error).strip().splitlines()[-1]})")
            continue
        requests = v2_requests(node, (), binary=False) if peer.v2 else None
        started.append((server, requests or Requests("/predict", node.bodies)))
    return started


def _copy(root: Path) -> Path:
    """A folder with the modules of the peers and nothing else of ours."""
    here = Path(__file__).parent
    package = root / "loadtest" / "bench" / "peers"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    for name in ("scoring", *(peer.module for peer in OUTSIDE.values())):
        shutil.copy(here / f"{name}.py", package)
    return root


def check_same(ours: tuple[Server, Requests], peer: tuple[Server, Requests]) -> None:
    """Compare decisions and probabilities of the first rows.

    Raises:
        TargetError: the peer decides otherwise; a faster wrong answer is no comparison.
    """
    for place in range(COMPARED):
        mine, theirs = (_ask(*each, place) for each in (ours, peer))
        if mine[0] != theirs[0] or abs(mine[1] - theirs[1]) > NEAR:
            raise TargetError(
                f"{peer[0].name} answers row {place} with {theirs}, we with {mine}",
                at=peer[0].name,
            )


def _ask(server: Server, requests: Requests, place: int) -> tuple[str, float]:
    """Decision and probability of ``bad``, whatever the protocol."""
    more = requests.own[place] if requests.own else ()
    data = build_request(
        server.target, requests.path, requests.bodies[place], headers=requests.headers + more,
        content_type=requests.content_type,
    )  # fmt: skip
    answer: Any = msgspec.json.decode(exchange(server.target, data, 10.0).body)
    if isinstance(answer["outputs"], list):
        tensors = {each["name"]: each["data"] for each in answer["outputs"]}
        return tensors["decision"][0], float(tensors["probabilities"][0])
    return answer["decision"], float(answer["outputs"]["probability"]["bad"])
