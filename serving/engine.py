"""The front door: load a verified package, score one decoded request or many columns."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.identity import Trust
from compiler.models.encode import Columns, encode_columns
from compiler.models.host import host_class
from compiler.models.session import RUNTIME_VERSION
from compiler.package import Package, read_package, verify_signature
from serving.batching.batcher import MicroBatcher
from serving.columns import ColumnEncoder
from serving.cost import measure_us
from serving.encode import ROW_ERRORS, Encoder, as_columns, build_encoder, explain_refusal
from serving.limits import BatchSettings
from serving.runtime import Runtime
from serving.types import Outputs, OutputTuple, ScoreError

GOLDEN_TOLERANCE = 1e-6
EXPLAIN_BYTES = 256 << 10
"""Larger arrays are those of large forests, whose explanations are too costly for an answer."""
Replay = Literal["bit-equal", "equal within 1e-6 (other CPU/runtime)"]


class GoldenError(AppError):
    """The model does not answer here what it answered where it was built."""

    code = "package.golden"


class LoadedModel:
    """A model ready to score.

    Attributes:
        name, version, digest: which model.
        features, output: its schemas.
        min_rows: rows a run is padded to.
        cost_us: measured cost of one scalar call in microseconds.
        replay: how the golden rows came out.
        builder: person whose key signed the package, ``None`` when no trust was given.
        memory_bytes: resident memory that loading it took, 0 when nobody measured.
        explain_file: what explains it, verified; None when the package carries none that is small.
    """

    def __init__(
        self, package: Package, builder: str | None, batching: BatchSettings | None = None
    ) -> None:
        self.memory_bytes = 0
        explain = package.files.get("explain.npz", b"")
        self.explain_file = explain if 0 < len(explain) <= EXPLAIN_BYTES else None
        self._batching = batching
        self._batcher: MicroBatcher | None = None
        manifest = package.manifest
        self.name = manifest.name
        self.version = manifest.version
        self.digest = package.digest
        self.folder = package.folder
        self.features = manifest.features
        self.output = manifest.output
        self.encoding = manifest.encoding
        self.min_rows = manifest.min_rows
        self.family = manifest.graph.family
        self.contributors = manifest.contributors
        self.builder = builder
        self._runtime = Runtime(
            package.files["model.onnx"], manifest.graph, manifest.output, manifest.min_rows
        )
        self._columns = ColumnEncoder(self.encoding, self.features)
        if self._runtime.width != self.encoding.width:
            raise ScoreError(
                f"the graph takes {self._runtime.width} slots, the encoding makes "
                f"{self.encoding.width}",
                code="package.manifest",
            )
        self.replay: Replay = replay_golden(package.files["golden.npz"], self._runtime)
        row, score = self._runtime.bind()
        row[:] = _golden_rows(package.files["golden.npz"])[0]
        self.cost_us = measure_us(score)

    def bind(self, struct_type: type | None = None) -> Callable[[Any], OutputTuple]:
        """A scorer of one decoded struct, with memory of its own: use it from one thread.

        Args:
            struct_type: the decoded struct's type; every feature that the model reads must be one
                of its fields.

        Returns:
            ``score(f)``: ``(label, probabilities)``, ``(value,)`` or ``(cluster, distance)``.

        Raises:
            ScoreError: (now) the struct lacks a feature.
        """
        self._check_fields(struct_type)
        _, encode, run = self.bind_row()
        refuse = self._refuse

        def score(f: Any) -> OutputTuple:
            try:
                encode(f)
            except ROW_ERRORS as error:
                raise refuse(f) from error
            return run()

        return score

    def bind_rows(
        self, struct_type: type | None = None
    ) -> Callable[[Sequence[Any]], NDArray[np.float32]]:
        """A function from decoded structs to their lowered rows, shape (n, width).

        Raises:
            ScoreError: (now) the struct lacks a feature; AppErrors of the returned function name
                the value that does not fit.
        """
        self._check_fields(struct_type)
        row = np.zeros(self.encoding.width, np.float32)
        encode = build_encoder(self.encoding, self.features, memoryview(row.data).cast("B"))
        refuse = self._refuse

        def rows(structs: Sequence[Any]) -> NDArray[np.float32]:
            matrix = np.empty((len(structs), len(row)), np.float32)
            for place, f in enumerate(structs):
                try:
                    encode(f)
                except ROW_ERRORS as error:
                    raise refuse(f) from error
                matrix[place] = row
            return matrix

        return rows

    def batcher(self) -> MicroBatcher:
        """What scores lowered rows of many callers in threads; made at the first call."""
        if self._batcher is None:
            self._batcher = MicroBatcher(
                self._runtime.score, settings=self._batching, cost_s=self.cost_us / 1e6
            )
        return self._batcher

    def _check_fields(self, struct_type: type | None) -> None:
        fields = getattr(struct_type, "__struct_fields__", None)
        missing = [n for n in self.encoding.features() if fields is not None and n not in fields]
        if missing:
            raise ScoreError(
                f"{self.name} reads {', '.join(missing)}, which the request does not have",
                code="schema.invalid",
            )

    def bind_row(self) -> tuple[NDArray[np.float32], Encoder, Callable[[], OutputTuple]]:
        """The two halves of a scorer with the row between them, for explanations.

        Returns:
            ``row``, shape (width,); ``encode(f)``, which fills it or raises one of
            ``ROW_ERRORS``; ``run()``, which scores it.
        """
        row, run = self._runtime.bind()
        encode = build_encoder(self.encoding, self.features, memoryview(row.data).cast("B"))
        return row, encode, run

    def _refuse(self, row: Any) -> AppError:
        try:
            explain_refusal(row, self.encoding, self.features)
        except AppError as error:
            return error
        return ScoreError(f"{self.name} cannot take this row")

    def matrix(self, f: Any) -> NDArray[np.float32]:
        """The lowered row of one decoded struct, shape (1, width)."""
        return encode_columns(as_columns(f, self.encoding), 1, self.encoding, self.features)

    def encode_columns(self, columns: Columns, rows: int) -> NDArray[np.float32]:
        """Lowered rows of business columns, shape (rows, width)."""
        return self._columns.encode(columns, rows)

    def score_columns(self, columns: Columns, rows: int) -> Outputs:
        """Answers for business columns; zero rows give empty outputs.

        Args:
            columns: values by feature name, ``rows`` each; others are ignored.
            rows: number of rows.

        Raises:
            AppError: a value does not fit; ``at`` names row and feature.
        """
        return self._runtime.score(self.encode_columns(columns, rows))

    def score_rows(self, rows: NDArray[np.float32]) -> Outputs:
        """Answers for lowered rows, shape (n, width), float32."""
        return self._runtime.score(rows)


class Engine:
    """Loads packages. Nothing of a package is used before all of it was verified."""

    @staticmethod
    def load(
        folder: Path | str,
        *,
        trust: Trust | None = None,
        expected_digest: str | None = None,
        batching: BatchSettings | None = None,
    ) -> LoadedModel:
        """Verify, open, replay the golden rows, warm and measure.

        Args:
            folder: package folder.
            trust: whose builder signature to require; ``None`` checks digests only.
            expected_digest: refuse any other package.
            batching: limits of its batcher, when it needs one.

        Raises:
            PackageError, SignatureError, RoleError: the package does not check out.
            RuntimeLoadError: the runtime lacks an operator.
            GoldenError: it answers differently here.
        """
        package = read_package(Path(folder), expected_digest=expected_digest)
        builder = verify_signature(package, trust) if trust is not None else None
        return LoadedModel(package, builder, batching)


def _golden_rows(file: bytes) -> NDArray[np.float32]:
    with np.load(io.BytesIO(file), allow_pickle=False) as arrays:
        rows: NDArray[np.float32] = arrays["rows"]
    return rows


def replay_golden(file: bytes, runtime: Runtime) -> Replay:
    """Score the golden rows again, together and one by one.

    Returns:
        ``bit-equal``; on another runtime version or CPU class also equality within 1e-6 with the
        same labels.

    Raises:
        GoldenError: different bits on the recorded pair, or beyond 1e-6 on another.
    """
    try:
        with np.load(io.BytesIO(file), allow_pickle=False) as arrays:
            rows = arrays["rows"]
            recorded = [arrays[f"output_{name}"] for name in runtime.graph.outputs]
            same_pair = (str(arrays["runtime"]), str(arrays["host"])) == (
                RUNTIME_VERSION,
                host_class(),
            )
    except (KeyError, ValueError, OSError) as error:
        raise GoldenError(f"golden.npz cannot be read: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != runtime.width or rows.dtype != np.float32:
        raise GoldenError("golden.npz holds rows of another shape")
    whole = runtime.run(rows)
    single = [
        np.concatenate(parts)
        for parts in zip(*(runtime.run(rows[i : i + 1]) for i in range(len(rows))), strict=True)
    ]
    if all(
        old.tobytes() == new.tobytes() == one.tobytes()
        for old, new, one in zip(recorded, whole, single, strict=True)
    ):
        return "bit-equal"
    if same_pair:
        raise GoldenError(
            "the golden rows do not come out bit for bit",
            hint="the runtime or the model file is not what was recorded",
        )
    before, after = runtime.outputs(recorded), runtime.outputs(whole)
    close = all(
        np.allclose(old, new, rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE)
        for old, new in zip(recorded, whole, strict=True)
    )
    labels = before.labels is None or bool((before.labels == after.labels).all())
    if not (close and labels):
        raise GoldenError("the golden rows differ by more than 1e-6 on this CPU and runtime")
    return "equal within 1e-6 (other CPU/runtime)"
