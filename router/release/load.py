"""Where a worker's models come from: packages of the artifact store, loaded by the registry."""

from __future__ import annotations

from pathlib import Path

from compiler.package import Package
from serving.engine import LoadedModel
from serving.limits import ModelSettings
from serving.registry import Registry
from serving.store import ArtifactStore


class ModelShelf:
    """Loaded models by package digest; the same package is never loaded twice.

    A model that two releases use is verified for each of them but loaded once. Scorers are bound
    per endpoint, so the shared session has no shared buffers.

    Attributes:
        registry: the loaded models, within their memory limit.
        inline_us: models that cost more are scored off the event loop.
    """

    def __init__(self, store: ArtifactStore, settings: ModelSettings | None = None) -> None:
        self._store = store
        self.registry = Registry(settings)
        self.inline_us = self.registry.settings.inline_us

    def fetch(self, package: str) -> Path:
        """Local folder of a package."""
        return self._store.fetch(package)

    def load(self, package: Package, builder: str) -> LoadedModel:
        """The model of a verified package, warm.

        Raises:
            MemoryLimitError: it does not fit; nothing changed.
        """
        return self.registry.load(package, builder)
