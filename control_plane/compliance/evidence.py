"""What the system knows by itself: answers bound to the digests of packages, snapshots, reports."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.db import sql
from control_plane.db.pool import Connection

_SQL = sql.load("control_plane.compliance")

Found = dict[str, tuple[str, str]]
"""``SECTION.ITEM`` to (value, digest of what proves it)."""


async def gather(connection: Connection, version: Any) -> Found:
    """Answers that follow from stored artifacts; nothing is claimed without one.

    Args:
        connection: to read with.
        version: row of the registry with the manifest's bytes.
    """
    model, number = version["model"], version["version"]
    if version["manifest"] is None:
        return {}
    manifest: dict[str, Any] = msgspec.json.decode(version["manifest"])
    package = version["package_digest"]
    found = from_manifest(manifest, package)
    lineage = manifest["lineage"]
    snapshot = str(lineage.get("snapshot", ""))
    facts = await connection.fetchrow(_SQL["snapshot_facts"], snapshot) if snapshot else None
    if facts is not None:
        missing = sum(column["missing"] for column in facts["profile"])
        found["S3.snapshot"] = (f"{snapshot}, {facts['rows']} rows", snapshot)
        found["S3.quality"] = (
            f"{missing} missing cells, {facts['findings']} findings at ingest", snapshot,
        )  # fmt: skip
    trials = await connection.fetchval(_SQL["trial_count"], model, number)
    if trials:
        found["S4.trials"] = (f"{trials} trials kept with the run", package)
    gates = await connection.fetchval(_SQL["gates"], model)
    if gates:
        words = ", ".join(f"{name} {value}" for name, value in gates.items())
        found["S6.gates"] = (words, package)
    reports = {r["name"]: r["digest"] for r in await connection.fetch(_SQL["reports"], model,
                                                                      number)}  # fmt: skip
    found |= from_reports(reports)
    events = await connection.fetch(_SQL["history"], model, number)
    found["S11.history"] = (", ".join(f"{e['state']} by {e['actor']}" for e in events), package)
    return found


def from_manifest(manifest: dict[str, Any], package: str) -> Found:
    """What the signed manifest of a package says."""
    lineage, recipe = manifest["lineage"], manifest["recipe"]
    found: Found = {
        "S1.identity": (f"{manifest['name']} version {manifest['version']}, {package}", package),
        "S1.developer": (", ".join(manifest["contributors"]), package),
        "S1.dependencies": (f"dataset {lineage.get('dataset', 'unknown')}, no other model",
                            package),
        "S5.parity": (f"passed within {manifest['parity'].get('tolerance')}", package),
        "S9.signature": (f"package {package}, signed by its builder", package),
    }  # fmt: skip
    if "explain.npz" in manifest["files"]:
        rows = manifest["files"]["explain.npz"]["sha256"]
        found["S7.method"] = (
            f"{manifest['graph']['family']} SHAP over reference rows sha256:{rows}", package,
        )  # fmt: skip
    if recipe:
        params = ", ".join(f"{k}={v}" for k, v in recipe.get("params", {}).items())
        found["S4.algorithm"] = (f"{recipe['estimator']} ({params or 'defaults'})", package)
    if "seed" in lineage:
        versions = ", ".join(f"{k} {v}" for k, v in lineage.get("libraries", {}).items())
        found["S4.reproducible"] = (f"seed {lineage['seed']}; {versions}", package)
    if "source" in lineage:
        found["S3.source"] = (f"{lineage['source']}; {lineage['licence']}", package)
    if "split" in lineage:
        split = lineage["split"]
        found["S3.split"] = (
            (f"{split['train_rows']} training and {split['test_rows']} held-out rows, "
            f"{'stratified, ' if split['stratified'] else ''}seeded"), package,
        )  # fmt: skip
    if "protected" in lineage:
        words = ", ".join(lineage["protected"]) or "none declared"
        found["S3.protected"] = (f"{words}: not read by the model", package)
        if lineage["protected"]:
            found["S8.protected"] = (words, package)
    return found


def from_reports(reports: dict[str, str]) -> Found:
    """What is shown by the newest report of each kind."""
    kinds = {
        "metrics": ("S5.metrics",),
        "predictions": ("S5.predictions",),
        "drift": ("S5.drift",),
        "explanations": ("S5.explanations", "S7.additivity"),
        "fairness": ("S8.rates",),
    }
    found: Found = {}
    for name, digest in reports.items():
        for item in kinds.get(name.rpartition("-")[0] or name, ()):
            found[item] = (f"report {name}", digest)
    return found
