"""Sensitive values never reach the disk of a router in the clear, and come back exactly."""

from __future__ import annotations

import base64
import os

import asyncpg
import msgspec
import pytest

from compiler.schema import Feature
from router.release.current import EMPTY, ReleaseLoader
from router.release.disk import read_snapshot
from router.release.load import ModelShelf
from serving.audit.seal import MasterKey
from serving.audit.sealing import reveal
from serving.settings import ShipperSettings
from serving.store import ArtifactStore
from tests import router_world as world
from tests.builders import keys
from tests.router_process import RouterProcess, Wire, request
from tests.spool import drain, fetch

AMOUNT = 7919


def sensitive(known):
    return {
        **known, "credit_amount": msgspec.structs.replace(known["credit_amount"], sensitive=True)
    }  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealing")
    world.publish(folder, (world.credit(folder / "artifacts", change=sensitive),))
    (folder / "master.key").write_bytes(base64.b64encode(os.urandom(32)))
    return folder


@pytest.fixture(scope="module")
def answers(home):
    """What a router with the key answered: a decision, a batch, a refusal that names the value."""
    settings = world.settings_for(home, master_key=home / "master.key")
    router = RouterProcess(settings, home / "log").wait_ready()
    amount = {"credit_amount": AMOUNT}
    rows = {"rows": [{"features": world.row(n, **amount), "subject": f"s{n}"} for n in range(3)]}
    bodies = [
        world.body(3, subject="47392", change=amount),
        msgspec.json.encode(rows),
        world.body(3, change={"credit_amount": f"{AMOUNT} marks", "purpose": 5}),
    ]
    with Wire(router.port) as wire:
        found = [wire.send(request(body, key=world.ROUTING_KEY)).answer() for body in bodies]
    router.stop()
    return found


def test_spool_holds_no_sensitive_value_in_the_clear(home, answers):
    assert [each.status for each in answers] == [200, 200, 422]
    assert str(AMOUNT).encode() in answers[2].body  # the caller is told what is wrong
    written = [path.read_bytes() for path in (home / "spool" / "test").glob("*.seg")]
    assert any(b'"$sealed"' in each for each in written)
    assert not any(str(AMOUNT).encode() in each for each in written)


async def test_sealed_values_open_to_what_was_sent_and_protect_nothing_else(
    home, answers, database_url
):
    settings = ShipperSettings(
        database_url, home / "spool", "test", master_key=home / "master.key", linger_ms=1, poll_ms=1
    )
    shipper = await drain(settings)
    assert shipper.status.quarantined == 0
    rows = await fetch(
        database_url, "SELECT id, status, features, error FROM audit_records ORDER BY seq"
    )
    assert [row["status"] for row in rows] == [200, 200, 200, 200, 422]
    master = MasterKey.load(home / "master.key")
    connection = await asyncpg.connect(database_url)
    opened = [
        msgspec.json.decode(
            await reveal(
                connection, master, row["id"].bytes, row["features"], actor="a", reason="r"
            )
        )
        for row in rows
    ]
    await connection.close()
    assert [each["credit_amount"] for each in opened] == [AMOUNT] * 4 + [f"{AMOUNT} marks"]
    assert opened[0] == world.row(3, credit_amount=AMOUNT)
    problem = msgspec.json.decode(rows[4]["error"])
    got = {each["at"].rpartition(".")[2]: each["got"] for each in problem["errors"]}
    assert got["credit_amount"] == "withheld"
    assert "5" in got["purpose"]


def test_release_with_sensitive_features_is_refused_where_nothing_can_seal_them(home):
    store = ArtifactStore.open(home / "artifacts")
    snapshot = read_snapshot(home / "cache" / "router")
    models = ModelShelf(store)
    refused = ReleaseLoader(keys().root.public, models).apply(snapshot, EMPTY)
    assert [each.code for each in refused.refusals] == ["release.sensitive"]
    assert "credit_amount" in refused.refusals[0].message
    served = ReleaseLoader(keys().root.public, models, can_seal=True).apply(snapshot, EMPTY)
    assert list(served.endpoints) == ["credit"]


def test_sensitive_context_is_refused_because_records_would_hold_it_in_the_clear(home, tmp_path):
    def change(known):
        return {**known, "context.branch": Feature("string", nullable=True, sensitive=True)}

    (tmp_path / "artifacts").symlink_to(home / "artifacts")
    world.publish(tmp_path, (world.credit(home / "artifacts", change=change),))
    snapshot = read_snapshot(tmp_path / "cache" / "router")
    models = ModelShelf(ArtifactStore.open(home / "artifacts"))
    found = ReleaseLoader(keys().root.public, models, can_seal=True).apply(snapshot, EMPTY)
    assert [each.code for each in found.refusals] == ["release.sensitive"]
    assert "context.branch" in found.refusals[0].message
