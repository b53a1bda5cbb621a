"""Compliance setup over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from control_plane.compliance import policy, service
from control_plane.compliance.schemas import (
    NewAnswer,
    NewFinding,
    Policy,
    Profile,
    ProfileChoice,
    Reason,
    Score,
    Setup,
)
from control_plane.deps import Pool, User, require

_VERSION = "/models/{model:str}/versions/{version:int}/compliance"


@get("/compliance/policy", guards=[require("models.read")])
async def read_policy() -> Policy:
    """The twelve sections with their items and weights."""
    return policy.policy()


@get("/compliance/profiles", guards=[require("models.read")])
async def list_profiles() -> list[Profile]:
    """Use cases and regimes, each with the sections it makes mandatory and its dated references."""
    return list(policy.profiles().values())


@put("/models/{model:str}/compliance", guards=[require("compliance.profile")])
async def choose_profile(
    pool: Pool, user: User, model: FromPath[str], data: JSONBody[ProfileChoice]
) -> Profile:
    """Say which profile a model answers to."""
    async with pool.transaction() as connection:
        return await service.choose(connection, user, model, data.profile)


@get(_VERSION, guards=[require("models.read")])
async def read_setup(
    pool: Pool,
    model: FromPath[str],
    version: FromPath[int],
    at: FromQuery[datetime | None] = None,
) -> Setup:
    """Answers, findings and score of a version, now or as of a time."""
    async with pool.connection() as connection:
        return await service.setup(connection, model, version, at)


@post(_VERSION + "/fill", guards=[require("compliance.answer")], status_code=200)
async def fill(pool: Pool, user: User, model: FromPath[str], version: FromPath[int]) -> Setup:
    """Answer from the system's own records, and carry text over from the version before."""
    async with pool.transaction() as connection:
        return await service.fill(connection, user, model, version)


@post(_VERSION + "/answers", guards=[require("compliance.answer")])
async def answer(
    pool: Pool,
    user: User,
    model: FromPath[str],
    version: FromPath[int],
    data: JSONBody[NewAnswer],
) -> Setup:
    """Answer an item in words, with the digest of what proves it if there is one."""
    async with pool.transaction() as connection:
        return await service.answer(connection, user, model, version, data)


@post(_VERSION + "/answers/{item:str}/review", guards=[require("compliance.review")],
      status_code=200)  # fmt: skip
async def review(
    pool: Pool, user: User, model: FromPath[str], version: FromPath[int], item: FromPath[str]
) -> Setup:
    """Agree with somebody else's answer."""
    async with pool.transaction() as connection:
        return await service.review(connection, user, model, version, item)


@post(_VERSION + "/score", guards=[require("compliance.answer")], status_code=200)
async def take_score(pool: Pool, user: User, model: FromPath[str], version: FromPath[int]) -> Score:
    """Compute the evidence completeness score and keep it."""
    async with pool.transaction() as connection:
        return await service.take_score(connection, user, model, version)


@post(_VERSION + "/findings", guards=[require("compliance.review")])
async def open_finding(
    pool: Pool,
    user: User,
    model: FromPath[str],
    version: FromPath[int],
    data: JSONBody[NewFinding],
) -> Setup:
    """Note a finding with its owner and date."""
    async with pool.transaction() as connection:
        return await service.open_finding(connection, user, model, version, data)


@post(_VERSION + "/findings/{finding:uuid}/close", guards=[require("compliance.review")],
      status_code=200)  # fmt: skip
async def close_finding(
    *,
    pool: Pool,
    user: User,
    model: FromPath[str],
    version: FromPath[int],
    finding: FromPath[UUID],
    data: JSONBody[Reason],
) -> Setup:
    """Close a finding."""
    async with pool.transaction() as connection:
        return await service.close_finding(connection, user, model, version, finding, data.reason)


@post("/models/{model:str}/versions/{version:int}/monitoring/propose",
      guards=[require("monitoring.propose")])  # fmt: skip
async def propose_monitoring(
    pool: Pool, user: User, model: FromPath[str], version: FromPath[int], data: JSONBody[Reason]
) -> dict[str, Any]:
    """Propose a version for monitoring."""
    async with pool.transaction() as connection:
        return await service.monitor(
            connection, user, model, version, step="proposed", reason=data.reason
        )


@post("/models/{model:str}/versions/{version:int}/monitoring/register",
      guards=[require("monitoring.register")])  # fmt: skip
async def register_monitoring(
    pool: Pool, user: User, model: FromPath[str], version: FromPath[int], data: JSONBody[Reason]
) -> dict[str, Any]:
    """Register for monitoring what somebody else proposed."""
    async with pool.transaction() as connection:
        return await service.monitor(
            connection, user, model, version, step="registered", reason=data.reason
        )


ROUTE_HANDLERS = [
    read_policy,
    list_profiles,
    choose_profile,
    read_setup,
    fill,
    answer,
    review,
    take_score,
    open_finding,
    close_finding,
    propose_monitoring,
    register_monitoring,
]
