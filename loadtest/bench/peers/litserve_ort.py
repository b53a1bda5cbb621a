"""LitServe with ONNX Runtime: one API process, one inference process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from loadtest.bench.peers.scoring import load_scorer

litserve: Any = importlib.import_module("litserve")


class Lending(litserve.LitAPI):  # type: ignore[misc]
    """Features in, decision out."""

    packages = ""

    def setup(self, device: str) -> None:
        """Load the models."""
        self.score = load_scorer(Path(self.packages))

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Features of the body."""
        return request["features"]

    def predict(self, features: Any) -> Any:
        """One row."""
        return self.score(features)

    def encode_response(self, output: Any) -> Any:
        """As it is."""
        return output


Lending.decode_request.__annotations__.clear()  # it takes texts of annotations for query parameters


def main() -> None:
    """Serve: ``PORT PACKAGES``."""
    port, packages = sys.argv[1:3]
    api = Lending()
    api.packages = packages
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(port), num_api_servers=1, generate_client_file=False,
        log_level="warning",
    )  # fmt: skip


if __name__ == "__main__":
    main()
