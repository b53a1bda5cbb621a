"""Roles, permissions and what may never be held together; all of it data.

A permission is a dotted word. Holding ``models`` means holding ``models.read`` and every other
word below it. A superadmin may widen or narrow what a person's role gives, but never past
:data:`APART`: two permissions that one person must not hold, whatever the role.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["superadmin", "manager", "data_scientist", "compliance_manager"]

PERMISSIONS: dict[str, str] = {
    "users.read": "see people and their roles",
    "users.write": "create people and service accounts, change roles and permissions, lock out",
    "roster.read": "see whose signing keys count",
    "roster.write": "install a roster signed by the root key",
    "datasets.read": "see datasets and snapshots",
    "datasets.write": "register datasets and upload snapshots",
    "runs.read": "see training runs",
    "runs.write": "train models",
    "models.read": "see models, versions and reports",
    "models.write": "register models and packages, change aliases",
    "models.submit": "ask for approval of a version",
    "models.approve": "approve or reject a version that one did not contribute to",
    "models.terminate": "take a version out of service for good",
    "compliance.profile": "say which compliance profile a model answers to",
    "compliance.answer": "answer compliance items and have them scored",
    "compliance.review": "review others' answers, open and close findings",
    "monitoring.propose": "propose a version for monitoring",
    "monitoring.register": "register for monitoring what somebody else proposed",
    "endpoints.read": "see endpoints and drafts",
    "endpoints.write": "create endpoints, change owner and SLO",
    "endpoints.edit": "edit drafts",
    "endpoints.suspend": "stop an endpoint",
    "releases.read": "see releases and what served when",
    "releases.propose": "propose a draft as a release",
    "releases.approve": "approve or reject a release that one did not edit",
    "releases.activate": "put an approved release into service, let a stopped endpoint go on",
    "releases.rollback": "return to an older release",
    "keys.read": "see routing keys (never their secrets)",
    "keys.write": "issue, rotate and revoke routing keys",
    "audit.read": "query the evidence, ask for explanations",
    "audit.reveal": "open sensitive values of a record, which is recorded",
    "audit.erase": "destroy the keys of a person's sensitive data",
    "audit.retention": "say how long records are kept, and hold them",
    "log.read": "read the administrative log",
    "nodes.read": "see router nodes",
    "jobs.read": "see jobs and their progress",
    "jobs.write": "cancel and retry jobs",
}

_READS = frozenset(
    {
        "users.read", "roster.read", "datasets.read", "runs.read", "models.read",
        "endpoints.read", "releases.read", "keys.read", "nodes.read", "jobs.read",
    }
)  # fmt: skip

ROLES: dict[Role, frozenset[str]] = {
    "superadmin": _READS
    | {
        "users.write", "roster.write", "audit.read", "log.read", "jobs.write", "endpoints.suspend",
    },
    "manager": _READS
    | {
        "models.approve", "models.terminate", "endpoints.write", "endpoints.edit",
        "endpoints.suspend", "releases.propose", "releases.approve", "releases.activate",
        "releases.rollback", "keys.write", "audit.read", "log.read", "jobs.write",
        "compliance.answer", "compliance.review", "monitoring.propose",
    },
    "data_scientist": _READS
    | {
        "datasets.write", "runs.write", "models.write", "models.submit", "jobs.write",
        "compliance.answer",
    },
    "compliance_manager": _READS
    | {
        "models.approve", "releases.approve", "endpoints.suspend", "audit.read", "audit.reveal",
        "audit.erase", "audit.retention", "log.read",
        "compliance.profile", "compliance.answer", "compliance.review", "monitoring.register",
    },
}  # fmt: skip
"""What each role gives. A superadmin only administers: he neither makes nor approves."""

APART: tuple[tuple[frozenset[str], frozenset[str], str], ...] = (
    (
        frozenset({"runs.write", "models.write", "models.submit"}),
        frozenset({"models.approve"}),
        "who makes models does not approve models",
    ),
    (
        frozenset({"users.write", "roster.write"}),
        frozenset({"models.approve", "releases.approve", "models.submit", "runs.write",
                   "endpoints.edit", "releases.propose", "releases.activate"}),
        "who says who may approve neither makes nor approves",
    ),
)  # fmt: skip
"""Sets of permissions of which one person holds at most one side, and why."""


def role_names() -> tuple[Role, ...]:
    """The four roles, in the order people read them."""
    return get_args(Role)


def spread(words: frozenset[str]) -> frozenset[str]:
    """Every single permission that these words give, by inheritance.

    >>> sorted(spread(frozenset({"keys"})))
    ['keys.read', 'keys.write']
    """
    return frozenset(name for name in PERMISSIONS if any(covers(word, name) for word in words))


def covers(word: str, name: str) -> bool:
    """Whether holding ``word`` means holding ``name``.

    >>> covers("models", "models.read"), covers("models.read", "models")
    (True, False)
    """
    return word == name or name.startswith(word + ".")


def effective(
    role: Role, allowed: frozenset[str] = frozenset(), denied: frozenset[str] = frozenset()
) -> frozenset[str]:
    """What a person may do: the role, widened, then narrowed. Narrowing wins."""
    return (ROLES[role] | spread(allowed)) - spread(denied)


def conflict(held: frozenset[str]) -> str:
    """Why these permissions may not be one person's; empty when they may."""
    for left, right, why in APART:
        first, second = sorted(held & left), sorted(held & right)
        if first and second:
            return f"{first[0]} and {second[0]}: {why}"
    return ""
