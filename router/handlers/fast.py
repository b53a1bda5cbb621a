"""Plain functions that answer the fast routes, by the name of their route."""

from __future__ import annotations

from router.handlers import docs, health, infer, metadata
from router.handlers.events import events
from router.handlers.predict import predict
from router.plane import FastHandler

FAST_HANDLERS: dict[str, FastHandler] = {
    "predict": predict,
    "infer": infer.infer,
    "openapi": docs.openapi,
    "docs": docs.docs,
    "outcomes": events,
    "overrides": events,
    "live": health.live,
    "ready": health.ready,
    "missing": health.missing,
    "wrong_method": health.wrong_method,
    "server": metadata.server,
    "model": metadata.model,
    "model_ready": metadata.model_ready,
    "config": metadata.config,
    "models": metadata.models,
    "index": metadata.index,
    "load": metadata.governed,
    "unload": metadata.governed,
}
