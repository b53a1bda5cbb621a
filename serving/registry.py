"""Models of one process: loaded once per package, within a memory limit, freed after use.

A model is held by the releases that route to it and by requests in progress, not by the registry:
the old model of a swap serves what it was asked and is freed with its last answer. Loading happens
in one thread at a time, off the event loop; a load that fails changes nothing.
"""

from __future__ import annotations

import gc
from pathlib import Path
from weakref import WeakValueDictionary

from compiler.errors import AppError
from compiler.package import Package
from serving.engine import LoadedModel
from serving.limits import ModelSettings

PAGE = 4096
SESSION_FACTOR = 3.0  # a session of ONNX Runtime against its file, measured on tree ensembles
SESSION_BYTES = 400_000  # what even an empty session takes


class MemoryLimitError(AppError):
    """Loading this model would pass the memory limit."""

    code = "model.memory"


class Registry:
    """Loaded models by package digest."""

    def __init__(self, settings: ModelSettings | None = None) -> None:
        self.settings = settings or ModelSettings()
        self._models: WeakValueDictionary[str, LoadedModel] = WeakValueDictionary()

    @property
    def memory_bytes(self) -> int:
        """Memory of all models that somebody still uses."""
        return sum(model.memory_bytes for model in self.models())

    def models(self) -> list[LoadedModel]:
        """Models that somebody still uses."""
        return list(self._models.values())

    def load(self, package: Package, builder: str | None = None) -> LoadedModel:
        """The model of a verified package: opened, golden rows replayed, warm; or the loaded one.

        Args:
            package: read and verified.
            builder: whose signature it carries.

        Raises:
            MemoryLimitError: with the figures; nothing changed.
            AppError: the model does not answer here as it did where it was built.
        """
        known = self._models.get(package.digest)
        if known is not None:
            return known
        limit = self.settings.memory_bytes
        expected = estimate_bytes(len(package.files.get("model.onnx", b"")))
        if self.memory_bytes + expected > limit:
            gc.collect()  # models that only a cycle still holds are used by nobody
        loaded = self.memory_bytes
        if loaded + expected > limit:
            raise MemoryLimitError(
                f"{_mib(loaded)} of models are loaded, this one needs about {_mib(expected)}, "
                f"the limit is {_mib(limit)}",
                hint="raise INTERLOCK_MODEL_MEMORY_MB, or let go of releases with large models",
            )
        before = resident_bytes()
        model = LoadedModel(package, builder, self.settings.batching)
        grown = resident_bytes() - before
        # other threads allocate too: the graph's own size is the least, twice the estimate the most
        size = len(package.files["model.onnx"])
        model.memory_bytes = min(max(grown, size), 2 * expected)
        self._models[package.digest] = model
        return model


def estimate_bytes(graph_bytes: int) -> int:
    """Memory that a model will take, from the size of its graph."""
    return int(graph_bytes * SESSION_FACTOR) + SESSION_BYTES


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
