"""MLServer with a custom runtime over ONNX Runtime, in its own process; speaks V2 JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from loadtest.bench.peers.scoring import load_scorer

NAME = "credit"


def main() -> None:
    """Serve: ``PORT PACKAGES FOLDER``; becomes MLServer's own command."""
    port, packages, folder = sys.argv[1:4]
    home = Path(folder)
    home.mkdir(exist_ok=True)
    settings = {
        "host": "127.0.0.1", "http_port": int(port), "grpc_port": int(port) + 1,
        "metrics_port": int(port) + 2, "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {
        "name": NAME,
        "implementation": "loadtest.bench.peers.mlserver_ort.Lending",
        "parameters": {"uri": packages},
    }
    (home / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (home / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    words = ["-c", "from mlserver.cli import main; main()", "start", folder]
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - its own command, no shell


if __name__ == "__main__":
    main()
else:
    mlserver: Any = importlib.import_module("mlserver")
    types: Any = importlib.import_module("mlserver.types")

    class Lending(mlserver.MLModel):  # type: ignore[misc]
        """A tensor per feature in, label, probabilities and decision out."""

        async def load(self) -> bool:
            """Load the models."""
            self.score = load_scorer(Path(self.settings.parameters.uri))
            return True

        async def predict(self, payload: Any) -> Any:
            """One row."""
            found = self.score({each.name: each.data[0] for each in payload.inputs})
            outputs = found["outputs"]
            pair = list(outputs["probability"].values())
            return types.InferenceResponse(
                model_name=self.name,
                outputs=[
                    types.ResponseOutput(
                        name="label", shape=[1], datatype="BYTES", data=[outputs["label"]]
                    ),
                    types.ResponseOutput(
                        name="probabilities", shape=[1, 2], datatype="FP32", data=pair
                    ),
                    types.ResponseOutput(
                        name="decision", shape=[1], datatype="BYTES", data=[found["decision"]]
                    ),
                ],
            )
