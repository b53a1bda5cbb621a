"""ONNX Runtime sessions, opened one way everywhere: one thread, no spinning, no telemetry."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # must be set before the import; it reports model names

import onnxruntime

RUNTIME_VERSION: str = onnxruntime.__version__
ERROR_LEVEL = 3


class RuntimeLoadError(AppError):
    """ONNX Runtime refuses the graph, for example for an operator it does not have."""

    code = "model.runtime"


def open_session(model: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        model: serialised ONNX.
        threads: threads inside one run; 1 runs in the caller's thread.

    Raises:
        RuntimeLoadError: with the runtime's words.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERROR_LEVEL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # rows arrive in every size: patterns would be planned again for each of them
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime has one exception class per status, none exported
        raise RuntimeLoadError(
            f"the runtime refuses the model: {str(error).strip()[:500]}",
            hint=f"this is ONNX Runtime {RUNTIME_VERSION}; convert for an older opset",
        ) from error


def run_rows(
    session: onnxruntime.InferenceSession,
    names: Sequence[str],
    rows: NDArray[np.float32],
    *,
    min_rows: int = 1,
    chunk: int = 1000,
) -> list[NDArray[Any]]:
    """Outputs of a lowered graph for any number of rows, padded and cut into chunks.

    Args:
        session: of a lowered graph.
        names: outputs wanted.
        rows: shape (n, width), float32.
        min_rows: rows a run must have for one row to equal the same row in a batch.
        chunk: rows per run; bounds memory.
    """
    feed = session.get_inputs()[0].name
    parts: list[list[NDArray[Any]]] = []
    for start in range(0, max(len(rows), 1), chunk):
        part = np.ascontiguousarray(rows[start : start + chunk])
        count = len(part)
        if count < min_rows:
            padded = np.zeros((min_rows, rows.shape[1]), np.float32)
            padded[:count] = part
            part = padded
        parts.append([item[:count] for item in session.run(list(names), {feed: part})])
    if len(parts) == 1:
        return parts[0]
    return [np.concatenate(items) for items in zip(*parts, strict=True)]
