"""Triton with its Python backend and ONNX Runtime, from the server that nvidia-pytriton carries.

The module is both what starts the server and the model that the server loads.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

NAME = "credit"
PACKAGES = "LENDING_PACKAGES"
STUB = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    """Serve: ``PORT PACKAGES FOLDER``; becomes Triton's own command."""
    port, packages, folder = sys.argv[1:4]
    site = Path(importlib.import_module("pytriton").__file__ or "").parent
    server, home = site / "tritonserver", Path(folder)
    backend = home / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend)
    shutil.copy(server / "python_backend_stubs" / STUB / "triton_python_backend_stub", backend)
    model = home / "models" / NAME / "1"
    model.mkdir(parents=True)
    shutil.copy(__file__, model / "model.py")
    (model.parent / "config.pbtxt").write_text(_config(Path(packages)), encoding="utf-8")
    libraries = (sysconfig.get_config_var("LIBDIR"), str(site.parent / "nvidia_pytriton.libs"))
    os.environ |= {
        PACKAGES: packages,
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": os.pathsep.join((os.environ["PYTHONPATH"], str(site.parent))),
    }
    binary = str(server / "bin" / "tritonserver")
    words = [
        binary, "--model-repository", str(home / "models"),
        "--backend-directory", str(home / "backends"),
        "--cache-directory", str(server / "caches"),
        "--http-address", "127.0.0.1", "--http-port", port,
        "--allow-grpc", "false", "--allow-metrics", "false",
    ]  # fmt: skip
    os.execv(binary, words)  # noqa: S606 - its own command, no shell


def _config(packages: Path) -> str:
    """The model's configuration, a tensor per feature."""
    manifest = json.loads((next(iter(packages.iterdir())) / "manifest.json").read_bytes())
    inputs = [
        f'{{ name: "{name}" data_type: {"TYPE_INT64" if each["type"] == "int" else "TYPE_STRING"} '
        "dims: [ -1 ] }"
        for name, each in manifest["features"].items()
    ]
    outputs = [
        f'{{ name: "{name}" data_type: {kind} dims: [ -1 ] }}'
        for name, kind in (
            ("label", "TYPE_STRING"), ("probabilities", "TYPE_FP32"), ("decision", "TYPE_STRING"),
        )
    ]  # fmt: skip
    return (
        f'name: "{NAME}"\nbackend: "python"\nmax_batch_size: 0\n'
        f"input [ {', '.join(inputs)} ]\noutput [ {', '.join(outputs)} ]\n"
        "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
    )


class TritonPythonModel:
    """A tensor per feature in, label, probabilities and decision out."""

    def initialize(self, args: Any) -> None:
        """Load the models."""
        scoring = importlib.import_module("loadtest.bench.peers.scoring")
        self._utils: Any = importlib.import_module("triton_python_backend_utils")
        self._score = scoring.load_scorer(Path(os.environ[PACKAGES]))

    def execute(self, requests: Any) -> list[Any]:
        """One row each."""
        utils, answers = self._utils, []
        for request in requests:
            features = {}
            for tensor in request.inputs():
                value = tensor.as_numpy().flat[0]
                features[tensor.name()] = value.decode() if isinstance(value, bytes) else int(value)
            found = self._score(features)
            outputs = found["outputs"]
            pair = np.array(list(outputs["probability"].values()), np.float32)
            answers.append(
                utils.InferenceResponse(
                    [
                        utils.Tensor("label", np.array([outputs["label"].encode()], object)),
                        utils.Tensor("probabilities", pair),
                        utils.Tensor("decision", np.array([found["decision"].encode()], object)),
                    ]
                )
            )
        return answers


if __name__ == "__main__":
    main()
