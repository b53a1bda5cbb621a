"""BentoML with ONNX Runtime, one worker; the packages' folder comes by environment."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from loadtest.bench.peers.scoring import load_scorer

PACKAGES = "LENDING_PACKAGES"


def main() -> None:
    """Serve: ``PORT PACKAGES``; becomes BentoML's own command."""
    port, packages = sys.argv[1:3]
    target = "loadtest.bench.peers.bentoml_ort:Lending"
    words = ["serve", target, "--host", "127.0.0.1", "--port", port]
    os.environ |= {PACKAGES: packages, "BENTOML_DO_NOT_TRACK": "True"}
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *words])  # noqa: S606 - its own command, no shell


if __name__ == "__main__":
    main()
else:
    bentoml: Any = importlib.import_module("bentoml")

    @bentoml.service(workers=1, traffic={"timeout": 30})
    class Lending:
        """Features in, decision out."""

        def __init__(self) -> None:
            self.score = load_scorer(Path(os.environ[PACKAGES]))

        @bentoml.api
        def predict(self, features: dict[str, Any]) -> dict[str, Any]:
            """One row."""
            return self.score(features)
