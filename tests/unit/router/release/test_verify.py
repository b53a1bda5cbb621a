"""A release is served only when every proof checks out; what lacks is named."""

import gc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compiler.identity import Roster, Trust, roster_key, sign_roster
from compiler.package import read_package
from compiler.signing import KeyPair
from router.errors import ReleaseRefusedError
from router.release.build import build_endpoint
from router.release.current import EMPTY, Current, ReleaseLoader
from router.release.disk import FeedRelease, Snapshot, feed_release
from router.release.load import ModelShelf
from router.release.spec import ReleaseBundle, ReleaseContent
from router.release.verify import verify_model_approval, verify_release
from serving.limits import ModelSettings
from serving.store import ArtifactStore
from tests import router_world as world
from tests.builders import (
    APPROVER_PERSON,
    BUILDER_PERSON,
    CONTRIBUTOR,
    EXPIRES,
    NOW,
    RELEASER_PERSON,
    keys,
    roster_envelope,
    trust,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def content(store: Path) -> ReleaseContent:
    return world.credit(store)


def check(bundle: ReleaseBundle, content: ReleaseContent) -> None:
    verify_release(bundle, trust(), endpoint=content.endpoint, number=content.number)


def refusal(bundle: ReleaseBundle, content: ReleaseContent) -> str:
    with pytest.raises(ReleaseRefusedError) as caught:
        check(bundle, content)
    return caught.value.code


def test_signed_and_approved_release_passes(content: ReleaseContent) -> None:
    check(world.bundle_of(content), content)


def test_every_changed_byte_of_the_content_is_refused(content: ReleaseContent) -> None:
    bundle = world.bundle_of(content)
    for at in range(0, len(bundle.content), 97):
        raw = bytearray(bundle.content)
        raw[at] ^= 1
        broken = msgspec.structs.replace(bundle, content=bytes(raw))
        assert refusal(broken, content).startswith("release.")


def test_release_under_another_name_or_number_is_refused(content: ReleaseContent) -> None:
    bundle = world.bundle_of(content)
    for endpoint, number in (("other", content.number), (content.endpoint, 8)):
        with pytest.raises(ReleaseRefusedError) as caught:
            verify_release(bundle, trust(), endpoint=endpoint, number=number)
        assert caught.value.code == "release.mismatch"


def test_signature_by_anybody_but_the_releaser_is_refused(content: ReleaseContent) -> None:
    bundle = world.bundle_of(content)
    other = world.bundle_of(msgspec.structs.replace(content, owner="someone else"))
    swapped = msgspec.structs.replace(bundle, signature=other.signature)
    assert refusal(swapped, content) == "release.signature"
    approver_signed = msgspec.structs.replace(bundle, signature=bundle.approvals[0])
    assert refusal(approver_signed, content) == "release.signature"


@pytest.mark.parametrize("who", ["nobody", "another content", "an editor", "a releaser"])
def test_routing_needs_an_approval_by_someone_who_did_not_edit(
    content: ReleaseContent, who: str
) -> None:
    if who == "an editor":
        content = msgspec.structs.replace(content, editors=(APPROVER_PERSON,))
    bundle = world.bundle_of(content)
    approvals = {
        "nobody": (),
        "another content": (
            world.approve_release(msgspec.structs.replace(content, owner="someone else")),
        ),
        "an editor": bundle.approvals,
        "a releaser": (world.approve_release(content, keys().releaser),),
    }[who]
    broken = msgspec.structs.replace(bundle, approvals=approvals)
    assert refusal(broken, content) == "release.approval"


def test_model_needs_an_approval_by_someone_who_did_not_contribute(
    content: ReleaseContent, store: Path
) -> None:
    ref = content.models[0]
    manifest = read_package(
        store / "packages" / ref.package.removeprefix("sha256:"), expected_digest=ref.package
    ).manifest
    verify_model_approval([world.approve_model(ref)], trust(), ref, manifest)
    contributed = msgspec.structs.replace(manifest, contributors=(APPROVER_PERSON,))
    other = msgspec.structs.replace(ref, package="sha256:" + "0" * 64)
    for envelopes, found in (
        ([], manifest),
        ([world.approve_model(ref)], contributed),
        ([world.approve_model(other)], manifest),
        ([world.approve_model(ref, person=CONTRIBUTOR)], manifest),
        ([world.approve_model(ref, keys().builder)], manifest),
        ([b"nonsense"], manifest),
    ):
        with pytest.raises(ReleaseRefusedError) as caught:
            verify_model_approval(envelopes, trust(), ref, found)
        assert caught.value.code == "release.model_approval"


def loader(store: Path) -> ReleaseLoader:
    return ReleaseLoader(keys().root.public, ModelShelf(ArtifactStore.open(store)))


def snapshot(*releases: FeedRelease, roster: bytes | None = None, version: int = 1) -> Snapshot:
    return Snapshot(
        roster if roster is not None else roster_envelope(),
        releases,
        (world.routing_key(),),
        version,
    )


def test_damaged_package_is_refused_by_name(content: ReleaseContent, tmp_path: Path) -> None:
    content = world.credit(tmp_path)
    folder = tmp_path / "packages" / content.models[1].package.removeprefix("sha256:")
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    release = feed_release(world.bundle_of(content))
    with pytest.raises(ReleaseRefusedError) as caught:
        build_endpoint(release, trust(), ModelShelf(ArtifactStore.open(tmp_path)))
    assert caught.value.code == "release.model"
    assert "standard_underwriting" in caught.value.message


def test_refused_release_leaves_the_last_good_one(store: Path, content: ReleaseContent) -> None:
    loading = loader(store)
    good = feed_release(world.bundle_of(content), activation=1)
    before = loading.apply(snapshot(good), EMPTY)
    assert not before.refusals
    later = world.bundle_of(msgspec.structs.replace(content, number=8))
    bad = feed_release(msgspec.structs.replace(later, approvals=()), activation=2, suspended=True)
    after = loading.apply(snapshot(bad), before)
    assert [(each.what, each.number, each.code) for each in after.refusals] == [
        ("credit", 8, "release.approval")
    ]
    assert after.endpoints["credit"].number == 7
    assert after.endpoints["credit"].suspended
    assert after.snapshot.releases == (good,)


def test_roster_of_a_stranger_or_from_the_past_is_refused(
    store: Path, content: ReleaseContent
) -> None:
    loading = loader(store)
    good = feed_release(world.bundle_of(content))
    forged = sign_roster(Roster(9, EXPIRES), KeyPair.generate())
    state = loading.apply(snapshot(good, roster=forged), EMPTY)
    assert not state.endpoints
    assert [each.what for each in state.refusals] == ["roster", "credit"]
    old = loading.apply(snapshot(good, version=2), EMPTY)
    assert old.refusals[0].code == "roster.rollback"


def test_release_of_a_revoked_approver_is_no_longer_served(
    store: Path, content: ReleaseContent
) -> None:
    loading = loader(store)
    good = feed_release(world.bundle_of(content))
    before = loading.apply(snapshot(good), EMPTY)
    approver = roster_key(keys().approver.public, APPROVER_PERSON, "approver")
    revoked = msgspec.structs.replace(approver, revoked_at="2026-02-01T00:00:00Z")
    roster = Roster(
        2,
        EXPIRES,
        (
            roster_key(keys().builder.public, BUILDER_PERSON, "builder"),
            revoked,
            roster_key(keys().releaser.public, RELEASER_PERSON, "releaser"),
        ),
    )
    envelope = sign_roster(roster, keys().root)
    assert Trust.from_roster(envelope, keys().root.public, now=NOW).version == 2
    after = loading.apply(snapshot(good, roster=envelope), before)
    assert not after.endpoints
    assert "revoked" in after.refusals[0].message


def test_unchanged_release_is_not_built_again(store: Path, content: ReleaseContent) -> None:
    loading = loader(store)
    good = feed_release(world.bundle_of(content))
    before = loading.apply(snapshot(good), EMPTY)
    after = loading.apply(snapshot(good), before)
    assert after.endpoints["credit"] is before.endpoints["credit"]
    assert after.keys is before.keys


def test_model_beyond_the_memory_limit_is_refused_with_the_figures_and_the_last_good_stays(
    content: ReleaseContent, store: Path
) -> None:
    def applied(limit: int, release: FeedRelease, before: Current) -> Current:
        shelf = ModelShelf(ArtifactStore.open(store), ModelSettings(memory_bytes=limit))
        return ReleaseLoader(keys().root.public, shelf).apply(snapshot(release), before)

    good = feed_release(world.bundle_of(content), activation=1)
    before = applied(1 << 30, good, EMPTY)
    later = world.bundle_of(msgspec.structs.replace(content, number=8))
    after = applied(1000, feed_release(later, activation=2), before)
    refused = after.refusals[0]
    assert (refused.what, refused.number, refused.code) == ("credit", 8, "model.memory")
    assert "0.0 MiB of models are loaded" in refused.message
    assert "the limit is 0.0 MiB" in refused.message
    assert after.endpoints["credit"].number == 7


def test_release_for_another_feature_schema_than_its_models_is_refused_by_name(store: Path) -> None:
    def without(known: dict[str, Any]) -> dict[str, Any]:
        return {name: each for name, each in known.items() if name != "credit_history"}

    content = world.credit(store, change=without)
    current = loader(store).apply(snapshot(feed_release(world.bundle_of(content))), EMPTY)
    refused = current.refusals[0]
    assert (refused.what, refused.code) == ("credit", "schema.invalid")
    assert "quick_approval reads credit_history" in refused.message


def test_models_of_a_release_that_is_gone_are_freed_without_the_collector(
    content: ReleaseContent, store: Path
) -> None:
    shelf = ModelShelf(ArtifactStore.open(store))
    gc.collect()
    gc.disable()
    try:
        endpoint = build_endpoint(feed_release(world.bundle_of(content)), trust(), shelf)
        assert len(shelf.registry.models()) == len(content.models)
        del endpoint
        assert shelf.registry.models() == []
    finally:
        gc.enable()
