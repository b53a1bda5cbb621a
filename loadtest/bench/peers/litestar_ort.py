"""Litestar with a msgspec struct and ONNX Runtime, one uvicorn worker (uvloop, httptools)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from loadtest.bench.peers.scoring import load_scorer


def main() -> None:
    """Serve: ``PORT PACKAGES FEATURES`` where FEATURES is a JSON object of name to example."""
    import uvicorn
    from litestar import Litestar, get, post

    port, packages, example = sys.argv[1:4]
    fields = [(name, type(value)) for name, value in msgspec.json.decode(example).items()]
    features = msgspec.defstruct("Features", fields)
    request = msgspec.defstruct("Request", [("features", features)])
    score = load_scorer(Path(packages))

    async def predict(data: Any) -> dict[str, Any]:
        return score(msgspec.structs.asdict(data.features))

    async def ready() -> str:
        return "ready"

    predict.__annotations__["data"] = request
    app = Litestar([post("/predict", status_code=200)(predict), get("/ready")(ready)])
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
