"""What tritonclient, unmodified, gets from a router. Run as a program: its libraries stay outside.

    python triton_battery.py PORT KEY MODEL VERSION BODY

Prints one JSON object: what each call returned, or the text of its error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as http
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

port, key, model, version, body = sys.argv[1:]
row: dict[str, Any] = json.loads(body)["features"]
url = f"127.0.0.1:{port}"


def headers() -> dict[str, str]:
    """A fresh dict per call: the client writes its own headers into it."""
    return {"Authorization": f"Bearer {key}"}


def inputs(library: Any, *, binary: bool, copies: int = 1) -> list[Any]:
    found = []
    for name, value in row.items():
        text = isinstance(value, str)
        array = np.array([[value]] * copies, dtype=object if text else np.int64)
        tensor = library.InferInput(name, [copies, 1], "BYTES" if text else "INT64")
        tensor.set_data_from_numpy(array, binary_data=binary)
        found.append(tensor)
    return found


def outputs(library: Any, *, binary: bool) -> list[Any]:
    names = ("label", "probabilities", "decision")
    return [library.InferRequestedOutput(name, binary_data=binary) for name in names]


def shown(result: Any) -> dict[str, Any]:
    label = result.as_numpy("label")
    return {
        "label": [each.decode() if isinstance(each, bytes) else each for each in label.tolist()],
        "shape": list(result.as_numpy("probabilities").shape),
        "sum": [round(float(each), 5) for each in result.as_numpy("probabilities").sum(axis=1)],
        "model": result.get_response()["model_name"],
        "version": result.get_response()["model_version"],
        "id": result.get_response().get("id"),
        "rule": result.get_response()["parameters"].get("rule"),
    }


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status()}


def sync() -> dict[str, Any]:
    client = http.InferenceServerClient(url)

    def infer(given: list[Any], **fields: Any) -> dict[str, Any]:
        return shown(client.infer(model, given, headers=headers(), **fields))

    found = {
        "live": attempt(client.is_server_live),
        "ready": attempt(client.is_server_ready),
        "model_ready": attempt(lambda: client.is_model_ready(model)),
        "server_metadata": attempt(client.get_server_metadata),
        "model_metadata": attempt(lambda: client.get_model_metadata(model)),
        "config": attempt(lambda: client.get_model_config(model)),
        "index": attempt(client.get_model_repository_index),
        "statistics": attempt(lambda: client.get_inference_statistics(model)),
        "infer_binary": attempt(lambda: infer(inputs(http, binary=True))),
        "infer_json_in": attempt(
            lambda: infer(
                inputs(http, binary=False), outputs=outputs(http, binary=True), request_id="r-1"
            )
        ),
        "infer_json": attempt(
            lambda: infer(inputs(http, binary=False), outputs=outputs(http, binary=False))
        ),
        "infer_batch": attempt(lambda: infer(inputs(http, binary=True, copies=3))),
        "infer_version": attempt(lambda: infer(inputs(http, binary=True), model_version=version)),
        "infer_gzip": attempt(
            lambda: infer(
                inputs(http, binary=True),
                request_compression_algorithm="gzip",
                response_compression_algorithm="gzip",
            )
        ),
        "infer_deflate": attempt(
            lambda: infer(inputs(http, binary=True), request_compression_algorithm="deflate")
        ),
        "unknown_model": attempt(
            lambda: client.infer("nobody", inputs(http, binary=True), headers=headers())
        ),
        "load": attempt(lambda: client.load_model(model)),
        "unload": attempt(lambda: client.unload_model(model)),
    }
    client.close()
    return found


async def asynchronous() -> dict[str, Any]:
    client = aio.InferenceServerClient(url)
    try:
        binary = await client.infer(model, inputs(aio, binary=True), headers=headers())
        plain = await client.infer(
            model,
            inputs(aio, binary=False),
            outputs=outputs(aio, binary=False),
            headers=headers(),
        )
        return {
            "live": await client.is_server_live(),
            "metadata": await client.get_model_metadata(model),
            "infer_binary": shown(binary),
            "infer_json": shown(plain),
        }
    finally:
        await client.close()


found = {"sync": sync(), "aio": asyncio.run(asynchronous())}
print(json.dumps(found))
