"""A recorded decision is decided again by the same code and compared bit by bit."""

from __future__ import annotations

import time

import msgspec
import pytest

from interlock.replay import _decide, replay
from router.decide import Decider
from router.release.build import assemble
from router.release.spec import ModelRef, ReleaseContent, canonical
from serving.engine import Engine
from serving.store import ArtifactStore
from tests.builders import OUTPUT, applicant, german_credit, signed_package

RULES = "IF credit_amount < 2000 THEN quick_approval AS small ELSE quick_approval"
DECISIONS = """\
IF output.probability.bad < 0.3 THEN approve AS low_risk
ELSE decline
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store with one package, a release that uses it, and a way to decide."""
    folder = tmp_path_factory.mktemp("store")
    package = signed_package(folder)
    features, _, _ = german_credit()
    content = ReleaseContent(
        endpoint="credit", number=7, features=features, output=OUTPUT,
        rules={"text": RULES}, decision_table={"text": DECISIONS},
        models=(ModelRef("quick_approval", 1, package.digest),),
    )  # fmt: skip
    return ArtifactStore.open(folder), content, package


def decided(world, index):
    """A row of the records table, as the router's decider fills it."""
    _, content, package = world
    endpoint = assemble(content, "", {"quick_approval": Engine.load(package.folder)})
    now_us = time.time_ns() // 1000
    case = {
        "key_id": "k", "received_at": now_us, "request_id": "r1", "context": None,
        "features": msgspec.json.encode(applicant(index)),
    }  # fmt: skip
    record = _decide(Decider, endpoint, case, None)
    row = {name: getattr(record, name) for name in record.__struct_fields__}
    return {**row, "received_at": now_us, "content": canonical(content)}


@pytest.mark.parametrize("index", [0, 17, 400])
def test_replay_of_an_untouched_record_is_bit_equal(world, index):
    case = decided(world, index)
    found = replay(case, world[0])
    assert (found.verdict, found.differences) == ("bit-equal", ())
    assert found.outputs == msgspec.json.decode(case["outputs"])


def test_changed_input_gives_another_answer_and_is_told(world):
    case = decided(world, 0)
    features = msgspec.json.decode(case["features"])
    features["credit_amount"] += 9000
    found = replay({**case, "features": msgspec.json.encode(features)}, world[0])
    assert found.verdict == "different"
    assert "outputs" in {each.field for each in found.differences}


def test_last_bits_of_another_processor_are_told_apart_from_a_difference(world):
    case = decided(world, 0)
    outputs = msgspec.json.decode(case["outputs"])
    outputs["probability"]["bad"] += 1e-9
    found = replay({**case, "outputs": msgspec.json.encode(outputs)}, world[0])
    assert found.verdict.startswith("equal within 1e-6")


def test_changed_decision_is_named(world):
    case = {**decided(world, 0), "decision": "refer"}
    found = replay(case, world[0])
    assert found.verdict == "different"
    assert [(each.field, each.recorded) for each in found.differences] == [("decision", "refer")]


def test_protected_values_are_not_needed(world):
    case = decided(world, 0)
    features = msgspec.json.decode(case["features"])
    protected = [name for name, each in world[1].features.items() if each.protected]
    assert protected
    for name in protected:
        features.pop(name, None)
    found = replay({**case, "features": msgspec.json.encode(features)}, world[0])
    assert found.verdict == "bit-equal"
