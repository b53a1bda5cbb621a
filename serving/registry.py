"""Models that serve: loaded off the loop, swapped by one reference, drained, within a memory limit.

A name points at one ``Serving``. Swapping loads and warms the new model in a thread, replaces the
reference, and only then drains the old one: calls that hold it finish on it, calls that come after
get the new one, and a load that fails changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from compiler.errors import AppError
from compiler.identity import Trust
from serving.batching.batcher import BatchSettings, MicroBatcher
from serving.cost import INLINE_LIMIT_US, runs_inline
from serving.engine import Engine, LoadedModel
from serving.types import OutputTuple

PAGE = 4096
SESSION_FACTOR = 3.0  # a session of ONNX Runtime against its file, measured on tree ensembles
SESSION_BYTES = 400_000  # what even an empty session takes


class MemoryLimitError(AppError):
    """Loading this model would pass the memory limit."""

    code = "model.memory"


class UnknownModelError(AppError):
    """No model of this name is loaded."""

    code = "model.unknown"


class RegistrySettings(Struct, frozen=True):
    """How models are kept.

    Attributes:
        memory_bytes: limit for all loaded models together.
        inline_us: models that cost more are scored by a batcher.
        batching: limits of each batcher.
    """

    memory_bytes: int = 4 << 30
    inline_us: float = INLINE_LIMIT_US
    batching: BatchSettings = BatchSettings()


class Serving:
    """One loaded model in use.

    Attributes:
        model: the model.
        memory_bytes: resident memory that loading it took (at least its files).
        inline: scored in the caller's thread; otherwise by a batcher.
    """

    def __init__(self, model: LoadedModel, memory_bytes: int, settings: RegistrySettings) -> None:
        self.model = model
        self.memory_bytes = memory_bytes
        self.inline = runs_inline(model.cost_us, settings.inline_us)
        self._scorers: dict[type, Callable[[Any], OutputTuple]] = {}
        self._batcher: MicroBatcher | None = None
        self._settings = settings

    async def start(self) -> None:
        """Start the batcher of a model that needs one."""
        if not self.inline:
            batcher = MicroBatcher(
                self.model.score_rows,
                settings=self._settings.batching,
                cost_s=self.model.cost_us / 1e6,
            )
            self._batcher = await batcher.__aenter__()

    async def drain(self) -> None:
        """Answer what was taken, then stop."""
        if self._batcher is not None:
            await self._batcher.drain()

    async def score(self, f: Any, *, timeout_s: float | None = None) -> OutputTuple:
        """The answer for one decoded struct, inline or batched.

        Raises:
            AppError: the model's error, a full queue, or the deadline.
        """
        if self._batcher is None:
            scorer = self._scorers.get(type(f))
            if scorer is None:
                scorer = self._scorers[type(f)] = self.model.bind(type(f))
            return scorer(f)
        return await self._batcher.score(self.model.matrix(f)[0], timeout_s=timeout_s)


class Registry:
    """Models by name."""

    def __init__(
        self, *, trust: Trust | None = None, settings: RegistrySettings | None = None
    ) -> None:
        self._trust = trust
        self._settings = settings or RegistrySettings()
        self._current: dict[str, Serving] = {}
        self._loading = asyncio.Lock()  # one at a time, so that memory can be attributed

    @property
    def memory_bytes(self) -> int:
        """Memory of all current models."""
        return sum(serving.memory_bytes for serving in self._current.values())

    def memory(self) -> dict[str, int]:
        """Memory per model, bytes."""
        return {name: serving.memory_bytes for name, serving in self._current.items()}

    def get(self, name: str) -> Serving:
        """What serves now; hold on to it for one call, not longer.

        Raises:
            UnknownModelError: nothing of this name is loaded.
        """
        serving = self._current.get(name)
        if serving is None:
            raise UnknownModelError(f"no model {name!r} is loaded")
        return serving

    async def swap(self, name: str, folder: Path, *, expected_digest: str | None = None) -> Serving:
        """Load a package, let ``name`` point at it, drain what served before.

        Raises:
            MemoryLimitError: with the figures; nothing changed.
            AppError: the package does not check out; nothing changed.
        """
        async with self._loading:
            old = self._current.get(name)
            expected = estimate_bytes(folder)
            if self.memory_bytes + expected > self._settings.memory_bytes:
                raise MemoryLimitError(
                    f"{self.memory_bytes} bytes are loaded, this model needs about {expected}, "
                    f"the limit is {self._settings.memory_bytes}",
                    at=str(folder),
                    hint="raise the limit, or terminate a model that is no longer routed to",
                )
            before = resident_bytes()
            model = await asyncio.to_thread(
                Engine.load, folder, trust=self._trust, expected_digest=expected_digest
            )
            grown = max(resident_bytes() - before, (folder / "model.onnx").stat().st_size)
            serving = Serving(model, grown, self._settings)
            await serving.start()
            self._current[name] = serving
        if old is not None:
            await old.drain()
        return serving

    async def remove(self, name: str) -> None:
        """Stop serving a name; what it holds is answered first."""
        serving = self._current.pop(name, None)
        if serving is not None:
            await serving.drain()

    async def close(self) -> None:
        """Drain everything."""
        for name in list(self._current):
            await self.remove(name)


def estimate_bytes(folder: Path) -> int:
    """Memory that a package will take, from the size of its graph."""
    try:
        size = (folder / "model.onnx").stat().st_size
    except OSError:
        return SESSION_BYTES  # loading will name what is missing
    return int(size * SESSION_FACTOR) + SESSION_BYTES


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
