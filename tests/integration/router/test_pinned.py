"""Older releases by number: served where the policy keeps them, and stopped like any other."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compiler.identity import Roster, roster_key, sign_roster
from router.release.current import EMPTY, ReleaseLoader
from router.release.disk import FeedRelease, Snapshot, feed_release, save
from router.release.load import ModelShelf
from router.release.spec import ModelRef, Policies, ReleaseContent
from serving.audit.frame import RECORD
from serving.audit.record import AuditRecord, decode_record
from serving.audit.recover import SegmentReader
from serving.registry import estimate_bytes
from serving.store import ArtifactStore
from tests import router_world as world
from tests.builders import EXPIRES, keys, roster_envelope, signed_package
from tests.router_process import Answer, RouterProcess, Wire, request

TWO = Policies(pinned_releases=2)


def call(index: int = 3) -> bytes:
    """One row in the open protocol."""
    words = {"int": "INT64", "float": "FP64", "enum": "BYTES", "string": "BYTES"}
    known, values = world.features(), world.row(index)
    inputs = [
        {"name": name, "shape": [1], "datatype": words[known[name].type], "data": [value]}
        for name, value in values.items()
    ]
    return msgspec.json.encode({"inputs": inputs})


def older(store: Path, number: int, **fields: Any) -> FeedRelease:
    content = world.credit(store, number=number, **fields)
    return feed_release(world.bundle_of(content), activation=number)


@pytest.fixture(params=["fast", "slow"])
def start(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[Snapshot], RouterProcess]]:
    running: list[RouterProcess] = []

    def begin(snapshot: Snapshot) -> RouterProcess:
        save(tmp_path / "cache" / "router", snapshot)
        settings = world.settings_for(tmp_path, fastlane=request.param == "fast")
        running.append(RouterProcess(settings, tmp_path / "log"))
        return running[0].wait_ready()

    yield begin
    for each in running:
        each.stop()


def snapshot(active: ReleaseContent, *pinned: FeedRelease) -> Snapshot:
    now = feed_release(world.bundle_of(active), activation=100)
    return Snapshot(roster_envelope(), (now,), (world.routing_key(),), 1, pinned=pinned)


def records(home: Path) -> list[AuditRecord]:
    """Everything in the spool of routers that are gone."""
    found = []
    for path in sorted((home / "spool").glob("*/*.seg")):
        with SegmentReader(path) as reader:
            frames = reader.frames(dead=True)
            found += [decode_record(each.payload) for each in frames if each.kind == RECORD]
    return found


def send(router: RouterProcess, path: str, body: bytes = b"", method: str = "POST") -> Answer:
    with Wire(router.port) as wire:
        raw = request(body, path=f"/v2/{path}", method=method, key=world.ROUTING_KEY)
        return wire.send(raw).answer()


def test_caller_names_the_release_that_answers(
    start: Callable[[Snapshot], RouterProcess], tmp_path: Path
) -> None:
    store = tmp_path / "artifacts"
    everything_declined = {"text": "IF output.probability.good >= 2 THEN approve ELSE decline"}
    old = [
        older(store, 7, decisions=everything_declined),
        older(store, 6, policies=Policies(durability="flush")),
        older(store, 5),
    ]
    router = start(snapshot(world.credit(store, number=8, policies=TWO), *old))
    answers = {
        number: send(router, f"models/credit/versions/{number}/infer", call()).json
        for number in (8, 7, 6)
    }
    assert [answers[n]["model_version"] for n in (8, 7, 6)] == ["8", "7", "6"]

    def decision(number: int) -> Any:
        outputs: Any = answers[number]["outputs"]
        return next(each["data"] for each in outputs if each["name"] == "decision")

    assert decision(7) == ["decline"] != decision(8) == decision(6)
    plain = send(router, "models/credit/infer", call()).json
    assert plain["model_version"] == "8"

    beyond = send(router, "models/credit/versions/5/infer", call())
    assert (beyond.status, list(beyond.json)) == (404, ["error"])
    assert "expected one of the versions 8, 7, 6 of 'credit', got 5" in beyond.json["error"]
    for path in ("versions/07", "versions/9", "versions/-7", "versions/7.0", "versions/x"):
        assert send(router, f"models/credit/{path}/infer", call()).status == 404

    for path in ("models/credit", "models/credit/versions/7"):
        assert send(router, path, method="GET").json["versions"] == ["6", "7", "8"]
    config: Any = send(router, "models/credit/versions/6/config", method="GET").json
    assert config["version_policy"] == {"specific": {"versions": [6, 7, 8]}}
    assert send(router, "models/credit/versions/6/ready", method="GET").status == 200
    assert send(router, "models/credit/versions/5/ready", method="GET").status == 404
    stats: Any = send(router, "models/stats", method="GET").json
    assert [each["version"] for each in stats["model_stats"]] == ["8", "7", "6"]
    index: Any = send(router, "repository/index").json
    assert [(each["version"], each["state"]) for each in index] == [
        ("8", "READY"), ("7", "READY"), ("6", "READY"),
    ]  # fmt: skip
    with Wire(router.port) as wire:
        native = wire.send(request(world.body(3), key=world.ROUTING_KEY)).answer().json
    assert native["release"] == 8

    assert router.stop() == 0
    kept = [(each.endpoint, each.release, each.durability) for each in records(tmp_path)]
    assert sorted(kept) == [
        ("credit", 6, "flush"), ("credit", 7, "process"), *[("credit", 8, "process")] * 3,
    ]  # fmt: skip


def test_without_the_policy_only_the_active_release_answers(
    start: Callable[[Snapshot], RouterProcess], tmp_path: Path
) -> None:
    store = tmp_path / "artifacts"
    router = start(snapshot(world.credit(store, number=8), older(store, 7, policies=TWO)))
    refused = send(router, "models/credit/versions/7/infer", call())
    assert refused.status == 404
    assert "answers with its active release 8 only, got version 7" in str(refused.json["error"])
    assert send(router, "models/credit", method="GET").json["versions"] == ["8"]


def test_suspended_older_release_gives_no_decision(
    start: Callable[[Snapshot], RouterProcess], tmp_path: Path
) -> None:
    store = tmp_path / "artifacts"
    off = msgspec.structs.replace(older(store, 7), suspended=True)
    safe = older(store, 6, policies=Policies(safe_decision="refer"))
    safe = msgspec.structs.replace(safe, suspended=True)
    router = start(snapshot(world.credit(store, number=8, policies=TWO), off, safe))
    assert send(router, "models/credit/versions/8/infer", call()).status == 200
    assert send(router, "models/credit/versions/7/infer", call()).status == 503
    assert send(router, "models/credit/versions/7/ready", method="GET").status == 503
    answer: Any = send(router, "models/credit/versions/6/infer", call()).json
    assert next(e["data"] for e in answer["outputs"] if e["name"] == "decision") == ["refer"]
    index: Any = send(router, "repository/index").json
    assert [each["state"] for each in index] == ["READY", "UNAVAILABLE", "UNAVAILABLE"]


def loader(store: Path) -> ReleaseLoader:
    return ReleaseLoader(keys().root.public, ModelShelf(ArtifactStore.open(str(store))))


def test_revoked_approver_stops_an_older_release(tmp_path: Path) -> None:
    active, old = world.credit(tmp_path, number=8, policies=TWO), older(tmp_path, 7)
    before = loader(tmp_path).apply(snapshot(active, old), EMPTY)
    assert list(before.pinned) == [("credit", 7)]
    known = keys()
    revoked = Roster(
        2,
        EXPIRES,
        (
            roster_key(known.builder.public, "builder@bank.example", "builder"),
            roster_key(known.releaser.public, "releaser@bank.example", "releaser"),
        ),
    )
    state = msgspec.structs.replace(
        snapshot(active, old), roster=sign_roster(revoked, known.root), roster_version=2
    )
    after = loader(tmp_path).apply(state, before)
    assert (dict(after.endpoints), dict(after.pinned)) == ({}, {})
    assert {(each.what, each.number) for each in after.refusals} == {("credit", 8)}


def test_unproved_older_release_is_refused_by_name_and_the_active_one_serves(
    tmp_path: Path,
) -> None:
    bundle = world.bundle_of(world.credit(tmp_path, number=7))
    unapproved = feed_release(msgspec.structs.replace(bundle, approvals=()))
    state = snapshot(world.credit(tmp_path, number=8, policies=TWO), unapproved)
    found = loader(tmp_path).apply(state, EMPTY)
    assert [each.number for each in found.all_endpoints()] == [8]
    assert [(each.number, each.code) for each in found.refusals] == [(7, "release.approval")]


def test_release_that_was_active_stays_loaded_as_it_is(tmp_path: Path) -> None:
    load = loader(tmp_path)
    first = load.apply(snapshot(world.credit(tmp_path, number=7)), EMPTY)
    next_one = world.credit(tmp_path, number=8, policies=TWO)
    old = older(tmp_path, 7)
    after = load.apply(snapshot(next_one, old), first)
    models = first.endpoints["credit"].models
    assert after.pinned["credit", 7].models is models
    same = load.apply(snapshot(next_one, old), after)
    assert same.pinned["credit", 7] is after.pinned["credit", 7]
    gone = load.apply(snapshot(world.credit(tmp_path, number=9), old), same)
    assert dict(gone.pinned) == {}


def test_older_releases_make_room_for_the_active_one(tmp_path: Path) -> None:
    """Each release holds a model of its own, and there is no room for a third one."""

    def release(number: int, estimator: str) -> ReleaseContent:
        digest = signed_package(tmp_path, estimator=estimator, name="scorer").digest
        content = world.credit(tmp_path, number=number, rules={"text": "ELSE scorer"}, policies=TWO)
        return msgspec.structs.replace(content, models=(ModelRef("scorer", 1, digest),))

    def feed(content: ReleaseContent) -> FeedRelease:
        return feed_release(world.bundle_of(content), activation=content.number)

    estimators = ("random_forest", "logistic_regression", "gradient_boosting")
    seven, eight, nine = map(release, (7, 8, 9), estimators)
    shelf = ModelShelf(ArtifactStore.open(str(tmp_path)))
    load = ReleaseLoader(keys().root.public, shelf)
    now = load.apply(snapshot(eight, feed(seven)), EMPTY)
    assert [each.number for each in now.all_endpoints()] == [8, 7]

    for model in shelf.registry.models():
        model.memory_bytes = 100_000
    del model
    graph = tmp_path / "packages" / nine.models[0].package[7:] / "model.onnx"
    limit = 199_999 + estimate_bytes(graph.stat().st_size)
    shelf.registry.settings = msgspec.structs.replace(shelf.registry.settings, memory_bytes=limit)
    wanted = snapshot(nine, feed(eight), feed(seven))
    now = load.apply(wanted, now)
    assert [(each.number, each.code) for each in now.refusals] == [(9, "model.memory")]
    assert [each.number for each in now.all_endpoints()] == [8]
    now = load.apply(wanted, now)  # as at the next reading of the feed
    assert [each.number for each in now.all_endpoints()][:2] == [9, 8]
