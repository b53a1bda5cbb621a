"""Ray Serve with ONNX Runtime: one proxy, one replica."""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from typing import Any

from loadtest.bench.peers.scoring import load_scorer


def main() -> None:
    """Serve: ``PORT PACKAGES``."""
    ray: Any = importlib.import_module("ray")
    serve: Any = importlib.import_module("ray.serve")
    port, packages = sys.argv[1:3]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})

    class Lending:
        """Features in, decision out."""

        def __init__(self) -> None:
            self.score = load_scorer(Path(packages))

        async def __call__(self, request: Any) -> Any:
            """One row; anything but a POST asks whether we are there."""
            if request.method != "POST":
                return "ready"
            return self.score((await request.json())["features"])

    serve.run(serve.deployment(Lending).bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
