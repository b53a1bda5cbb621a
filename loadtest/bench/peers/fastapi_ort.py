"""FastAPI with a pydantic model and ONNX Runtime, one uvicorn worker (uvloop, httptools)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from loadtest.bench.peers.scoring import load_scorer


def main() -> None:
    """Serve: ``PORT PACKAGES FEATURES`` where FEATURES is a JSON object of name to example."""
    import msgspec
    import pydantic
    import uvicorn
    from fastapi import FastAPI

    port, packages, example = sys.argv[1:4]
    fields: dict[str, Any] = {
        name: (type(value), ...) for name, value in msgspec.json.decode(example).items()
    }
    features = pydantic.create_model("Features", **fields)
    request = pydantic.create_model("Request", features=(features, ...))
    score = load_scorer(Path(packages))
    app = FastAPI()

    async def predict(body: Any) -> dict[str, Any]:
        return score(body.features.model_dump())

    predict.__annotations__["body"] = request
    app.post("/predict")(predict)

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
