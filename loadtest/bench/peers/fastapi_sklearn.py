"""FastAPI with a pydantic model and the fitted scikit-learn pipelines, as a notebook hands them on.

The pipelines are fitted at start from the same recipes; each request becomes a one-row matrix.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve: ``PORT DATA FEATURES`` where FEATURES is a JSON object of name to example."""
    import msgspec
    import numpy as np
    import pydantic
    import uvicorn
    from fastapi import FastAPI

    from compiler.models.matrix import to_matrix
    from compiler.models.pipeline import make_pipeline
    from compiler.models.recipe import Recipe
    from loadtest.bench.credit import RECIPES, SEED, read_credit
    from loadtest.bench.peers.scoring import answer, choose_model

    port, data, example = sys.argv[1:4]
    schema, columns, target = read_credit(Path(data))
    matrix, labels = to_matrix(columns, schema), np.array(target)
    fitted = {}
    for name, (estimator, params) in RECIPES.items():
        recipe = Recipe("classification", estimator, params, seed=SEED)
        fitted[name] = make_pipeline(recipe, schema).fit(matrix, labels)
    names = list(schema)
    fields: dict[str, Any] = {
        name: (type(value), ...) for name, value in msgspec.json.decode(example).items()
    }
    request = pydantic.create_model(
        "Request", features=(pydantic.create_model("Features", **fields), ...)
    )
    app = FastAPI()

    async def predict(body: Any) -> dict[str, Any]:
        features = body.features.model_dump()
        name = choose_model(features)
        row = np.array([[features[key] for key in names]], dtype=object)
        bad, good = map(float, fitted[name].predict_proba(row)[0])
        return answer(name, bad, good)

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    predict.__annotations__["body"] = request
    app.post("/predict")(predict)
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
