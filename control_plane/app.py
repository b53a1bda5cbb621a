"""The control plane's HTTP application: every topic's routes, one error table, one door policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, MediaType, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

from compiler.errors import AppError
from control_plane import deps, docs, problem
from control_plane.approvals import routes as approvals
from control_plane.audit import routes as audit
from control_plane.compliance import routes as compliance
from control_plane.datasets import routes as datasets
from control_plane.endpoints import routes as endpoints
from control_plane.idempotency import IdempotencyMiddleware
from control_plane.identity import routes as identity
from control_plane.jobs import routes as jobs
from control_plane.keys import routes as keys
from control_plane.lifecycle import run_parts
from control_plane.nodes import routes as nodes
from control_plane.registry import routes as registry
from control_plane.schedules import routes as schedules
from control_plane.training import routes as training
from control_plane.validation import routes as validation

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from control_plane.settings import ControlSettings


@get("/livez", opt={"open": True}, media_type=MediaType.TEXT)
async def livez() -> str:
    """Whether this process answers; looks at nothing else."""
    return "ok"


@get("/readyz", opt={"open": True})
async def readyz(state: State) -> Response[dict[str, str]]:
    """Whether the database answers. Redis is reported and not required."""
    database, bell = await state.pool.ready(), await state.bell.ready()
    body = {
        "database": "ok" if database else "unavailable",
        "redis": "absent" if bell is None else "ok" if bell else "unavailable",
    }
    return Response(body, status_code=200 if database else 503)


ROUTES: list[ControllerRouterHandler] = [
    *identity.ROUTE_HANDLERS,
    *registry.ROUTE_HANDLERS,
    *approvals.ROUTE_HANDLERS,
    *endpoints.ROUTE_HANDLERS,
    *keys.ROUTE_HANDLERS,
    *nodes.ROUTE_HANDLERS,
    *datasets.ROUTE_HANDLERS,
    *jobs.ROUTE_HANDLERS,
    *schedules.ROUTE_HANDLERS,
    *training.ROUTE_HANDLERS,
    *validation.ROUTE_HANDLERS,
    *compliance.ROUTE_HANDLERS,
    *audit.ROUTE_HANDLERS,
]
"""Handlers below ``/api``, topic by topic."""


def build_app(settings: ControlSettings) -> Litestar:
    """The application, ready to be served.

    Raises:
        ValueError: a handler says neither who may call it nor that everybody may.
    """
    app = Litestar(
        route_handlers=[livez, readyz, Router("/api", route_handlers=list(ROUTES))],
        dependencies={
            "pool": Provide(deps.provide_pool),
            "user": Provide(deps.current_user),
            "settings": Provide(deps.provide_settings),
            "bell": Provide(deps.provide_bell),
        },
        exception_handlers={
            AppError: problem.handle_app_error,
            HTTPException: problem.handle_http_error,
            RecursionError: problem.handle_unreadable,
            UnicodeError: problem.handle_unreadable,
            Exception: problem.handle_unexpected,
        },
        middleware=[IdempotencyMiddleware()],
        lifespan=[run_parts],
        state=State({"settings": settings}),
        openapi_config=docs.openapi(),
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )
    refuse_unguarded(app)
    return app


def refuse_unguarded(app: Litestar) -> None:
    """Stop a start with a handler that forgot to say who may call it.

    Raises:
        ValueError: names the handlers.
    """
    bare = [
        f"{path} {sorted(handler.http_methods)}"
        for path, handler in handlers(app)
        if path.startswith("/api") and not handler.opt.get("open") and not guard_of(handler)
    ]
    if bare:
        raise ValueError(f"handlers without a guard: {', '.join(bare)}")


def handlers(app: Litestar) -> list[tuple[str, Any]]:
    """Every (path, HTTP handler) of the application, in order of registration."""
    return [
        (route.path, handler)
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if getattr(handler, "http_methods", {"OPTIONS"}) != {"OPTIONS"}
    ]


def guard_of(handler: Any) -> Any:
    """The guard of ours that a handler carries, or None."""
    for guard in handler.guards or ():
        if isinstance(guard, deps.require) or guard is deps.signed_in:
            return guard
    return None
