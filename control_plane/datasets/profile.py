"""The second pass: typed rows into Parquet, and what they look like on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compiler.schema import FeatureMap, FeatureType, OutputSchema, Task
from control_plane.datasets import quality
from control_plane.datasets.errors import DataError
from control_plane.datasets.infer import ColumnScan, typed
from control_plane.datasets.schemas import ColumnProfile, Finding

BINS = 20
SAMPLE_ROWS = 20_000
"""Rows kept in memory for the leak check."""
GROUP_ROWS = 32_768
"""Rows of a Parquet row group."""


class ProfiledWriter:
    """Writes blocks in the snapshot's types and gathers histograms, moments and a sample."""

    def __init__(
        self,
        path: Path,
        *,
        scans: list[ColumnScan],
        features: FeatureMap,
        excluded: dict[str, str],
        target: str | None,
        output: OutputSchema,
        source_names: dict[str, str],
    ) -> None:
        self._path = path
        self._scans = scans
        self._features = features
        self._excluded = excluded
        self._target = target
        self._output = output
        self._source_names = source_names
        self._kinds: dict[str, FeatureType] = {scan.name: self._kind(scan) for scan in scans}
        self._numbers = {
            scan.name: _Moments(scan.low or 0.0, scan.high or 0.0)
            for scan in scans
            if self._kinds[scan.name] in ("int", "float")
        }
        self._waiting: list[pa.RecordBatch] = []
        self._sample: list[pa.RecordBatch] = []
        self._sampled = 0
        self._writer: Any = None

    def _kind(self, scan: ColumnScan) -> FeatureType:
        if scan.name == self._target:
            return "float" if self._output.task == "regression" else "string"
        feature = self._features.get(scan.name)
        return feature.type if feature else "string"

    def __enter__(self) -> Self:
        """Nothing is written before the first block."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Finish the file; after an error it is removed."""
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)

    def write(self, block: pa.RecordBatch) -> None:
        """Take one block of text columns.

        Raises:
            DataError: a date or time that does not exist, or a number beyond float32.
        """
        columns = []
        for scan, column in zip(self._scans, block.columns, strict=True):
            kind = self._kinds[scan.name]
            try:
                made = typed(column, kind)
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"expected a {kind}: {str(error).splitlines()[0]}",
                    code="data.value",
                    at=scan.name,
                ) from None
            if scan.name in self._numbers:
                self._numbers[scan.name].add(made, scan.name)
            columns.append(made)
        batch = pa.RecordBatch.from_arrays(columns, names=[scan.name for scan in self._scans])
        if self._sampled < SAMPLE_ROWS:
            self._sample.append(batch.slice(0, SAMPLE_ROWS - self._sampled))
            self._sampled += self._sample[-1].num_rows
        self._waiting.append(batch)
        if sum(part.num_rows for part in self._waiting) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        self._waiting = []
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=len(table))

    def leaks(self, task: Task) -> list[Finding]:
        """Columns that know the target too well, judged on a sample of the rows."""
        if self._target is None or not self._sample:
            return []
        table = pa.Table.from_batches(self._sample)
        answer = table[self._target]
        table = table.filter(answer.is_valid())
        target = _values(table[self._target].combine_chunks())
        columns = {
            name: _values(table[name].combine_chunks())
            for name in self._features
            if name not in self._excluded
        }
        return quality.leak_findings(columns, target, task)

    def profile(self) -> tuple[ColumnProfile, ...]:
        """One entry per column, in the order of the source."""
        return tuple(self._profile(scan) for scan in self._scans)

    def _profile(self, scan: ColumnScan) -> ColumnProfile:
        name = scan.name
        feature = self._features.get(name)
        role: Literal["feature", "target", "excluded"] = "feature"
        if name == self._target:
            role = "target"
        elif name in self._excluded:
            role = "excluded"
        moments = self._numbers.get(name)
        kind = self._kinds[name]
        low: float | str | None = moments.low if moments else None
        high: float | str | None = moments.high if moments else None
        if kind in ("date", "timestamp") and scan.values and not scan.overflow:
            low, high = min(scan.values), max(scan.values)
        return ColumnProfile(
            name,
            role,
            kind,
            scan.missing,
            self._source_names.get(name, ""),
            scan.distinct,
            () if moments else scan.top(),
            low,
            high,
            moments.mean if moments else None,
            moments.deviation if moments else None,
            tuple(moments.edges.tolist()) if moments else (),
            tuple(moments.counts.tolist()) if moments else (),
            bool(feature and feature.protected),
            bool(feature and feature.sensitive),
        )


class _Moments:
    """Histogram, mean and deviation of one column of numbers, block by block."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        with np.errstate(over="ignore"):
            bounds = np.array([low, high], np.float32).astype(np.float64)
        self._fits = bool(np.isfinite(bounds).all())
        lower, upper = bounds if self._fits else (0.0, 1.0)
        self.edges = np.linspace(lower, upper if upper > lower else lower + 1.0, BINS + 1)
        self.counts = np.zeros(BINS, np.int64)
        self._n, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, column: pa.Array, name: str) -> None:
        if not self._fits:
            raise DataError("expected numbers that float32 can hold", code="data.range", at=name)
        values = column.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        shifted = values - self.edges[0]  # squares of large offsets would cancel
        self._n += len(values)
        self._sum += float(shifted.sum())
        self._squares += float(np.square(shifted).sum())
        inside = np.clip(values, self.edges[0], self.edges[-1])
        self.counts += np.histogram(inside, bins=self.edges)[0]

    @property
    def mean(self) -> float | None:
        return self.edges[0].item() + self._sum / self._n if self._n else None

    @property
    def deviation(self) -> float | None:
        if not self._n:
            return None
        mean = self._sum / self._n
        return float(np.sqrt(max(0.0, self._squares / self._n - mean * mean)))


def _values(column: pa.Array) -> NDArray[Any]:
    """Floats with NaN, or words with None."""
    kind = column.type
    if pa.types.is_string(kind):
        return np.asarray(column.to_pylist(), dtype=object)
    if pa.types.is_date(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    values: NDArray[Any] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
