"""``interlock models`` and ``interlock identity`` offline, as a user meets them."""

import base64
import json

import pytest
from click.testing import CliRunner

from compiler.errors import AppError
from interlock.commands.identity import identity
from interlock.commands.models import models
from tests.builders import (
    BUILDER_PERSON,
    GERMAN_CREDIT,
    german_credit,
    keys,
    roster_envelope,
    signed_package,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a package in its artifacts, as the stack leaves it."""
    monkeypatch.delenv("INTERLOCK_HOME", raising=False)
    monkeypatch.delenv("INTERLOCK_ROOT_KEY", raising=False)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "root.pub").write_text(base64.b64encode(keys().root.public).decode() + "\n")
    (secrets / "roster.json").write_bytes(roster_envelope())
    keys().root.save(secrets / "root.key")
    return tmp_path


@pytest.fixture
def package(home):
    return signed_package(home / "artifacts").folder


def run(group, *arguments, **options):
    return CliRunner().invoke(group, [str(item) for item in arguments], **options)


def test_inspect_shows_parity_and_what_was_left_out(package):
    text = run(models, "inspect", package).output
    assert "quick_approval version 1" in text
    assert "personal_status_and_sex" in text
    assert "largest difference" in text
    assert "exactly (linear), against" in text
    assert f"signed        by {keys().builder.id}" in text
    assert "1000 rows" in text
    document = json.loads(run(models, "inspect", package, "--json").output)
    assert document["manifest"]["name"] == "quick_approval"


def test_inspect_of_something_else_says_what_a_package_is(tmp_path, package):
    refused = run(models, "inspect", tmp_path)
    assert isinstance(refused.exception, AppError)
    assert "folder that holds manifest.json" in refused.exception.hint


def test_link_in_a_package_is_called_a_link(package):
    model = package / "model.onnx"
    model.rename(package / "elsewhere.onnx")
    model.symlink_to(package / "elsewhere.onnx")
    refused = run(models, "inspect", package)
    assert isinstance(refused.exception, AppError)
    assert "model.onnx is a link" in refused.exception.message


def test_verify_finds_the_home_above_the_package(package):
    result = run(models, "verify", package)
    assert result.exit_code == 0
    assert f"{BUILDER_PERSON} (builder)" in result.output
    assert "bit-equal" in result.output


def test_verify_names_a_changed_file_and_fails(package):
    path = package / "model.onnx"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    result = run(models, "verify", package, "--json")
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert (report["ok"], report["error"]["code"]) == (False, "package.digest")
    assert isinstance(run(models, "verify", package).exception, AppError)


def test_verify_without_any_root_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("INTERLOCK_HOME", raising=False)
    folder = signed_package(tmp_path).folder
    error = run(models, "verify", folder).exception
    assert isinstance(error, AppError)
    assert error.message == "no trusted root"


def test_package_renamed_to_another_digest_is_refused(package):
    other = package.with_name("0" * 64)
    package.rename(other)
    error = run(models, "verify", other).exception
    assert isinstance(error, AppError)
    assert error.code == "package.identity"


def test_score_answers_every_row_of_a_csv(package):
    result = run(models, "score", package, "--input", GERMAN_CREDIT)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [line["row"] for line in lines] == list(range(1000))
    assert set(lines[0]["outputs"]["probability"]) == {"bad", "good"}


def test_score_fails_when_a_row_could_not_be_scored(package, tmp_path):
    path = tmp_path / "rows.ndjson"
    path.write_text('{"duration_in_month": 12}\n')
    result = run(models, "score", package, "--input", path)
    assert result.exit_code == 1
    assert "features.missing" in result.stdout


def test_push_signs_and_publishes(package, tmp_path):
    keys().builder.save(tmp_path / "builder.key")
    (package / "signatures" / "builder.dsse.json").unlink()
    store = tmp_path / "elsewhere"
    result = run(models, "push", package, "--store", store, "--key", tmp_path / "builder.key")
    assert result.exit_code == 0, result.output
    there = store / "packages" / package.name
    home = tmp_path
    assert run(models, "verify", there, "--home", home).exit_code == 0


def test_import_checks_a_foreign_file(package, tmp_path):
    features, _, _ = german_credit()
    numbers = [name for name, feature in features.items() if feature.type == "int"]
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    used = [name for name in numbers if not features[name].protected]
    weights = np.zeros((len(used), 2), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Softmax", ["m"], ["p"], axis=1),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(used)])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    schema = {
        "task": "classification",
        "classes": ["bad", "good"],
        "features": {name: {"type": "int"} for name in used},
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    result = run(
        models, "import", tmp_path / "m.onnx", "--schema", tmp_path / "schema.json",
        "--samples", GERMAN_CREDIT, "--name", "foreign", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "checked on 1000 rows" in result.output


def test_created_key_is_enrolled_and_revoked(home):
    assert run(identity, "create", "eve@bank.example", "--home", home).exit_code == 0
    path = home / "secrets" / "people" / "eve@bank.example.key"
    assert path.stat().st_mode & 0o777 == 0o600
    enrolled = run(identity, "enrol", "eve@bank.example", "--home", home)
    assert "roster    version 2" in enrolled.output
    assert "eve@bank.example" in run(identity, "list", "--home", home).output
    revoked = run(identity, "revoke", "eve@bank.example", "--home", home)
    assert "version 3" in revoked.output
    assert "revoked 2" in run(identity, "list", "--home", home).output


def test_sealed_key_asks_for_its_passphrase(home):
    result = run(
        identity, "create", "eve@bank.example", "--passphrase", "--home", home,
        input="open sesame\nopen sesame\n",
    )  # fmt: skip
    assert "sealed" in result.output
    assert "open sesame" not in (home / "secrets/people/eve@bank.example.key").read_text()


@pytest.mark.parametrize("person", ["../root", "", ".hidden"])
def test_person_never_becomes_a_path(home, person):
    error = run(identity, "create", person, "--home", home).exception
    assert isinstance(error, AppError)


def test_enrolling_a_text_that_is_no_key_is_refused(home):
    error = run(identity, "enrol", "x@y", "--public", "AAAA", "--home", home).exception
    assert isinstance(error, AppError)
    assert "32 bytes" in error.message
