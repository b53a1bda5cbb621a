"""A recorded decision is decided again by the same code and compared bit by bit."""

from __future__ import annotations

import time

import msgspec
import pyarrow as pa
import pytest

from interlock.part_rows import row_case
from interlock.replay import (
    COMPARED_IN_PARTS,
    ReplayError,
    _decide,
    is_sealed,
    opened,
    reasons,
    replay,
)
from router.columnar.decide import ColumnarEndpoint
from router.decide import Decider
from router.release.build import assemble
from router.release.spec import ModelRef, ReleaseContent, canonical
from serving.audit.part_store import blob_name, pack
from serving.audit.parts import write_table
from serving.blobs import BlobStore
from serving.engine import Engine
from serving.files import file_digest
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


def test_a_row_of_a_columnar_part_is_decided_again_and_explained(world, tmp_path):
    store, content, package = world
    plain = {name: each for name, each in content.features.items() if not each.protected}
    content = msgspec.structs.replace(content, features=plain)
    endpoint = assemble(content, "", {"quick_approval": Engine.load(package.folder)})
    rows = [applicant(n, model_only=True) for n in range(40)]
    found = ColumnarEndpoint(endpoint, subject_ref=str).decide(
        pa.RecordBatch.from_pylist(rows), first_row=100, now_us=0
    )
    file = tmp_path / "part.arrow"
    write_table(pa.Table.from_batches([found.evidence]), file)
    digest = file_digest(file)
    packed = tmp_path / "packed"
    pack(file, packed)
    BlobStore.open(str(tmp_path / "artifacts")).put(blob_name(digest), packed)
    part = {
        "id": "part", "part": digest, "rows": 40, "key_id": "k", "received_at": 0, "status": 200,
        "content": canonical(content), "context": None, "unknown": (), "defaults": (),
    }  # fmt: skip
    case = row_case(part, 117, str(tmp_path / "artifacts"))
    again = replay(case, store, None, COMPARED_IN_PARTS)
    assert (again.verdict, again.differences) == ("bit-equal", ())
    assert again.outputs == msgspec.json.decode(found.result.column("outputs")[17].as_py())
    assert again.record == found.result.column("id")[17].as_py()
    assert len(reasons(case, store)) > 0
    changed = replay({**case, "decision": "refer"}, store, None, COMPARED_IN_PARTS)
    assert [each.field for each in changed.differences] == ["decision"]
    with pytest.raises(ReplayError, match="expected a row from 100 to 139, got 5"):
        row_case(part, 5, str(tmp_path / "artifacts"))


def test_opened_features_are_decided_about_and_destroyed_ones_are_told(world):
    case = decided(world, 3)
    features = msgspec.json.decode(case["features"])
    sealed = {**case, "features": b'{"purpose":{"$sealed":"x"}}'}
    assert is_sealed(sealed)
    assert not is_sealed(case)
    clear = opened(sealed, {"features": features, "sealed": []})
    assert replay(clear, world[0]).verdict == "bit-equal"
    with pytest.raises(ReplayError, match="keys of purpose are destroyed"):
        opened(sealed, {"features": features, "sealed": ["purpose"]})
