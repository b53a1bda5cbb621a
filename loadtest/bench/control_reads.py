"""What the benchmark of the control plane reads: every list and read route that users have.

``{word}`` in a path is the id of the first row of another list, see :data:`LOOKUPS`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from loadtest.bench.control_state import SUBJECT
from loadtest.errors import LoadTestError

READS: tuple[tuple[str, str], ...] = (
    ("me", "/me"),
    ("users", "/users"),
    ("roles", "/roles"),
    ("log", "/log?limit=100"),
    ("log of one", "/log?subject=endpoint-100"),
    ("log of an actor", "/log?actor=nobody@bank.example"),
    ("log of an act", "/log?action=key.revoke"),
    ("models", "/models?limit=100"),
    ("model", "/models/model-0500"),
    ("versions", "/models/model-0500/versions"),
    ("version", "/models/model-0500/versions/7"),
    ("compare", "/models/model-0500/compare?before=6&after=7"),
    ("aliases", "/models/model-0500/aliases"),
    ("gates", "/models/model-0500/gates"),
    ("reports", "/models/model-0500/versions/7/reports"),
    ("report", "/models/model-0500/versions/7/reports/metrics"),
    ("compliance", "/models/model-0500/versions/7/compliance"),
    ("policy", "/compliance/policy"),
    ("profiles", "/compliance/profiles"),
    ("endpoints", "/endpoints?limit=100"),
    ("endpoint", "/endpoints/endpoint-100"),
    ("draft", "/endpoints/endpoint-100/draft"),
    ("served", "/endpoints/endpoint-100/served"),
    ("activations", "/endpoints/endpoint-100/activations"),
    ("releases", "/releases?limit=100"),
    ("releases of one", "/releases?endpoint=endpoint-100"),
    ("release", "/releases/{release}"),
    ("keys", "/keys?limit=100"),
    ("nodes", "/nodes"),
    ("jobs", "/jobs"),
    ("jobs of a state", "/jobs?state=failed"),
    ("job", "/jobs/{job}"),
    ("job log", "/jobs/{job}/log"),
    ("schedules", "/schedules"),
    ("schedule", "/schedules/schedule-50"),
    ("connections", "/connections"),
    ("datasets", "/datasets"),
    ("dataset", "/datasets/dataset-050"),
    ("snapshots", "/datasets/dataset-050/snapshots"),
    ("snapshot", "/datasets/dataset-050/snapshots/latest"),
    ("runs", "/runs"),
    ("runs of one", "/runs?model=model-0500"),
    ("run", "/runs/{run}"),
    ("trials", "/runs/{run}/trials"),
    ("validations", "/validations"),
    ("validations of one", "/validations?model=model-0500"),
    ("validation", "/validations/{validation}"),
    ("validation reports", "/validations/{validation}/reports"),
    ("validation report", "/validations/{validation}/reports/drift"),
    ("audit newest", "/audit/records?limit=50"),
    ("audit of endpoint", "/audit/records?endpoint=endpoint-100&limit=50"),
    ("audit of a quiet one", "/audit/records?endpoint=endpoint-quiet&limit=50"),
    ("audit by request", "/audit/records?request_id=r4711"),
    ("audit by subject", f"/audit/records?subject={SUBJECT}"),
    ("audit by model", "/audit/records?model=model-0500&version=10&limit=50"),
    ("audit by rule", "/audit/records?rule=rule-rare&limit=50"),
    ("audit by decision", "/audit/records?decision=decline&limit=50"),
    ("audit by key", "/audit/records?key_id=nobody&limit=50"),
    ("audit by outcome", "/audit/records?outcome=bad&limit=50"),
    ("audit of errors", "/audit/records?status=500&limit=50"),
    ("audit record", "/audit/records/{record}"),
    ("audit parts", f"/audit/parts?subject={SUBJECT}"),
    ("retention", "/audit/retention"),
    ("disposals", "/audit/disposals"),
)

LOOKUPS: dict[str, str] = {
    "release": "/releases?limit=1",
    "job": "/jobs?limit=1",
    "run": "/runs?limit=1",
    "validation": "/validations?limit=1",
    "record": "/audit/records?limit=1",
}
"""The list whose first row's id a word in a path stands for."""

NOT_READ: dict[str, str] = {
    "/api/roster": "the benchmark has no signed roster",
    "/api/services/{email}/tokens": "a superadmin's; one indexed look-up",
    "/api/models/{model}/versions/{version}/statement": "for submitted versions only",
    "/api/releases/{release}/statement": "for proposed releases only",
}
"""Routes that are left out, and why; a test holds the two against the API's document."""

_WORD = re.compile(r"\{(\w+)\}")
Get = Callable[[str], Awaitable[Any]]


async def resolve(get: Get) -> list[tuple[str, str]]:
    """Every read with the ids that this database has.

    Args:
        get: answers the document of a GET.

    Raises:
        LoadTestError: a list that has to have a row is empty.
    """
    ids: dict[str, str] = {}
    for word, path in LOOKUPS.items():
        items = (await get(path))["items"]
        if not items:
            raise LoadTestError(f"expected at least one row at {path}, got none")
        ids[word] = items[0]["id"]
    return [(name, _WORD.sub(lambda found: ids[found[1]], path)) for name, path in READS]
