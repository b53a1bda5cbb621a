"""From a fitted pipeline to a package folder: lower, emit, prove, record, write."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.models.encode import encode_columns
from compiler.models.explain_arrays import explain_file, pack
from compiler.models.gate import Subject, check_parity
from compiler.models.graph import emit_model
from compiler.models.host import host_class
from compiler.models.lower import lower
from compiler.models.matrix import from_matrix
from compiler.models.parity import ParityReport
from compiler.models.portable import emit_portable
from compiler.models.recipe import Recipe
from compiler.models.session import RUNTIME_VERSION, open_session, run_rows
from compiler.package import OBSERVED, Manifest, read_package, write_package, write_synced
from compiler.schema import FeatureMap, OutputSchema

GOLDEN_ROWS = 64
Progress = Callable[[str, float], None]


class PackageInfo(Struct, frozen=True):
    """A package just built.

    Attributes:
        digest: ``sha256:<hex>``.
        path: its folder.
        parity: the report of the passed gate.
        manifest: as written, with the digests of its files.
    """

    digest: str
    path: Path
    parity: ParityReport
    manifest: Manifest


def build_package(
    pipeline: Any,
    X: NDArray[Any],  # noqa: N803 - scikit-learn's name
    y: Any,  # noqa: ARG001 - callers hold both; targets are never written into a package
    *,
    features: FeatureMap,
    output: OutputSchema,
    name: str,
    version: int,
    recipe: Recipe | None,
    lineage: dict[str, Any],
    contributors: tuple[str, ...],
    metrics: dict[str, Any],
    out_dir: Path,
    positive: str | None = None,
    progress: Progress | None = None,
) -> PackageInfo:
    """Build the package of a fitted pipeline and write it to ``out_dir/<hex digest>/``.

    Args:
        pipeline: fitted on matrices of ``to_matrix`` (or a bare fitted estimator).
        X: training rows, shape (rows, model features).
        y: training targets; not stored.
        features: the schema, protected features included.
        output: task and labels, labels in the order of the served probabilities.
        name: model name.
        version: model version.
        recipe: what was fitted; ``None`` for a pipeline from elsewhere.
        lineage: dataset digest, run, people, times; library versions are added.
        contributors: e-mails of everybody who worked on this version.
        metrics: held-out figures.
        out_dir: parent of the package folder.
        positive: the favourable class, whose margin explanations explain; default the last one.
        progress: told (step, share done).

    Raises:
        UnsupportedEstimatorError: the estimator is not on the allow-list.
        LoweringError, TabulateError, ConversionError: a step has no exact exported form.
        ParityError: the graphs do not answer as the pipeline does; shows the rows.
    """
    tell = progress or _silent
    begun = time.monotonic()
    tell("lowering encoders", 0.0)
    lowered = lower(getattr(pipeline, "inner", pipeline), X, features)
    tell("converting", 0.1)
    built = emit_model(lowered, output)
    portable = emit_portable(built, lowered.encoding, features).SerializeToString()
    model = built.model.SerializeToString()
    tell("proving parity", 0.3)
    subject = Subject(pipeline, lowered, built, portable, features, output)
    parity = check_parity(subject, X, progress=lambda step, share: tell(step, 0.3 + 0.5 * share))
    tell("recording golden rows", 0.8)
    rows = encode_columns(from_matrix(X, features), len(X), lowered.encoding, features)
    session = open_session(model)
    answers = run_rows(session, built.graph.outputs, rows, min_rows=parity.min_rows)
    numbers = answers[1] if output.task == "clustering" else answers[0]
    tell("explanation arrays", 0.9)
    files = {
        "model.onnx": model,
        "portable.onnx": portable,
        "golden.npz": golden_file(rows, answers, built.graph.outputs),
        "explain.npz": explain_file(
            lowered, rows, numbers.astype(np.float64), output, positive=positive
        ),
    }
    manifest = Manifest(
        name=name,
        version=version,
        features=features,
        output=output,
        encoding=lowered.encoding,
        graph=built.graph,
        min_rows=parity.min_rows,
        recipe=msgspec.to_builtins(recipe) if recipe is not None else {},
        lineage={**lineage, "libraries": library_versions(), "training_rows": len(X)},
        contributors=contributors,
        metrics=metrics,
        parity=msgspec.to_builtins(parity),
        files={},
    )
    digest, path = write_package(manifest, files, out_dir)
    observed = {
        "host": host_class(),
        "runtime": RUNTIME_VERSION,
        "build_s": time.monotonic() - begun,
    }
    write_synced(path / OBSERVED, msgspec.json.encode(observed))
    tell("done", 1.0)
    return PackageInfo(digest, path, parity, read_package(path, expected_digest=digest).manifest)


def _silent(step: str, share: float) -> None:
    """Progress that nobody watches."""


def golden_file(
    rows: NDArray[np.float32], answers: list[NDArray[Any]], names: tuple[str, ...]
) -> bytes:
    """Content of ``golden.npz``: rows spread over the data with their exact outputs.

    The runtime version and host class under which they are exact travel with them.
    """
    chosen = np.unique(np.linspace(0, len(rows) - 1, GOLDEN_ROWS).astype(np.intp))
    arrays = {f"output_{name}": part[chosen] for name, part in zip(names, answers, strict=True)}
    return pack(
        {
            "rows": rows[chosen],
            "runtime": np.asarray(RUNTIME_VERSION),
            "host": np.asarray(host_class()),
            **arrays,
        }
    )


def library_versions() -> dict[str, str]:
    """Versions of what fitted and converted this model."""
    import onnx
    import skl2onnx
    import sklearn

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": RUNTIME_VERSION,
        "scikit-learn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
    }
