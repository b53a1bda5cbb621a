"""Models of this process: fetched by digest, verified, loaded once, shared by releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compiler.identity import Trust
from serving.engine import Engine, LoadedModel
from serving.store import ArtifactStore


class ModelShelf:
    """Loaded models by package digest; the same package is never loaded twice.

    A model that two releases use is verified for each of them but loaded once. Scorers are bound
    per endpoint, so the shared session has no shared buffers.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._models: dict[str, LoadedModel] = {}

    def fetch(self, package: str) -> Path:
        """Local folder of a package."""
        return self._store.fetch(package)

    def load(self, folder: Path, trust: Trust, package: str) -> Any:
        """The model, verified and warm."""
        known = self._models.get(package)
        if known is None:
            known = Engine.load(folder, trust=trust, expected_digest=package)
            self._models[package] = known
        return known

    def keep(self, packages: set[str]) -> None:
        """Forget the models that no release uses."""
        for package in list(self._models):
            if package not in packages:
                del self._models[package]
