"""Packages: whatever is damaged is refused by name before a byte of it is used."""

import hashlib
import json
import os
import shutil

import msgspec
import pytest

from compiler.identity import RoleError
from compiler.package import (
    MAX_FILE_BYTES,
    PackageError,
    folder_name,
    package_digest,
    read_package,
    sign_package,
    verify_package,
)
from compiler.signing import KeyPair, SignatureError, sign
from compiler.statements import PACKAGE, PackageStatement, encode_statement
from tests.builders import BUILDER_PERSON, german_credit, keys, signed_package


@pytest.fixture
def package(tmp_path):
    return signed_package(tmp_path)


def rewrite(folder, change):
    """Change the manifest and write it in canonical form again."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_bytes(msgspec.json.Encoder(order="sorted").encode(manifest))
    return package_digest(path.read_bytes())


def refused(folder, code, **options):
    with pytest.raises(PackageError) as caught:
        read_package(folder, **options)
    assert caught.value.code == code
    return caught.value


def test_digest_is_the_folder_name_and_the_hash_of_the_manifest(package):
    raw = (package.folder / "manifest.json").read_bytes()
    assert package.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert package.folder.name == folder_name(package.digest)


def test_sound_package_is_read_and_its_builder_named(package):
    found, person = verify_package(package.folder, package.trust, expected_digest=package.digest)
    assert person == BUILDER_PERSON
    assert set(found.files) == {"model.onnx", "portable.onnx", "golden.npz", "explain.npz"}


@pytest.mark.parametrize("name", ["model.onnx", "portable.onnx", "golden.npz", "explain.npz"])
def test_one_changed_byte_in_any_file_is_refused_by_its_name(package, name):
    path = package.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert name in refused(package.folder, "package.digest").message


def test_every_changed_byte_of_the_manifest_is_another_package(package):
    path = package.folder / "manifest.json"
    original = path.read_bytes()
    for place in range(0, len(original), 97):
        data = bytearray(original)
        data[place] ^= 1
        path.write_bytes(data)
        refused(package.folder, "package.identity", expected_digest=package.digest)


def test_truncated_file_is_refused(package):
    path = package.folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.onnx" in refused(package.folder, "package.size").message


def test_longer_file_is_refused_without_reading_it(package):
    with (package.folder / "model.onnx").open("ab") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    assert str(1 << 40) in refused(package.folder, "package.size").message


def test_swapped_files_are_refused(package, tmp_path):
    other = signed_package(tmp_path / "other", estimator="gradient_boosting")
    shutil.copyfile(other.folder / "model.onnx", package.folder / "model.onnx")
    assert "model.onnx" in refused(package.folder, "package.size").message


def test_missing_file_is_named(package):
    (package.folder / "golden.npz").unlink()
    assert "golden.npz is missing" in refused(package.folder, "package.missing").message


def test_empty_folder_is_refused(tmp_path):
    assert "manifest.json" in refused(tmp_path, "package.missing").message


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/etc/passwd", "a/b.onnx", "manifest.json", ".hidden.npz", "x.pkl", "X.onnx"],
)
def test_path_tricks_in_the_manifest_are_refused(package, name):
    def change(manifest):
        manifest["files"][name] = manifest["files"]["model.onnx"]

    rewrite(package.folder, change)
    assert repr(name) in refused(package.folder, "package.path").message


def test_link_in_place_of_a_file_is_refused(package, tmp_path):
    target = tmp_path / "elsewhere.onnx"
    path = package.folder / "model.onnx"
    shutil.copyfile(path, target)
    path.unlink()
    path.symlink_to(target)
    refused(package.folder, "package.path")


def test_pipe_in_place_of_a_file_is_refused_without_waiting(package):
    path = package.folder / "model.onnx"
    path.unlink()
    os.mkfifo(path)
    refused(package.folder, "package.path")


def test_unknown_format_version_is_refused_by_name(package):
    rewrite(package.folder, lambda manifest: manifest.update(format="interlock/package/v2"))
    assert "interlock/package/v2" in refused(package.folder, "package.format").message


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(extra=1),
        lambda m: m.pop("graph"),
        lambda m: m.update(version="1"),
        lambda m: m["files"].pop("golden.npz"),
    ],
)
def test_manifest_of_another_shape_is_refused(package, change):
    rewrite(package.folder, change)
    refused(package.folder, "package.manifest")


def test_manifest_that_is_not_canonical_is_refused(package):
    path = package.folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    refused(package.folder, "package.manifest")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"null"])
def test_manifest_that_is_not_json_is_refused(package, content):
    (package.folder / "manifest.json").write_bytes(content)
    with pytest.raises(PackageError):
        read_package(package.folder)


@pytest.mark.parametrize("size", [-1, MAX_FILE_BYTES + 1, 1 << 70])
def test_oversized_claim_is_refused_before_reading(package, size):
    rewrite(package.folder, lambda m: m["files"]["model.onnx"].update(bytes=size))
    with pytest.raises(PackageError) as caught:
        read_package(package.folder)
    assert caught.value.code in ("package.size", "package.manifest")


def test_package_beyond_the_callers_limit_is_refused(package):
    refused(package.folder, "package.size", max_bytes=1000)


def test_unsigned_package_is_refused(package):
    (package.folder / "signatures" / "builder.dsse.json").unlink()
    with pytest.raises(PackageError) as caught:
        verify_package(package.folder, package.trust)
    assert caught.value.code == "package.unsigned"


def test_package_signed_by_a_stranger_is_refused(package):
    sign_package(package.folder, KeyPair.generate())
    with pytest.raises(SignatureError, match="trusted key"):
        verify_package(package.folder, package.trust)


def test_package_signed_by_an_approver_is_refused(package):
    sign_package(package.folder, keys().approver)
    with pytest.raises(RoleError, match="expected a builder's signature"):
        verify_package(package.folder, package.trust)


def test_signature_of_another_package_is_refused(package, tmp_path):
    other = signed_package(tmp_path / "other", estimator="gradient_boosting")
    name = "signatures/builder.dsse.json"
    shutil.copyfile(other.folder / name, package.folder / name)
    with pytest.raises(PackageError) as caught:
        verify_package(package.folder, package.trust)
    assert caught.value.code == "package.signature"


def test_signature_under_another_name_is_refused(package):
    statement = PackageStatement(package.digest, "somebody_elses_model", 1)
    envelope = sign(PACKAGE, encode_statement(statement), keys().builder)
    (package.folder / "signatures" / "builder.dsse.json").write_bytes(envelope)
    with pytest.raises(PackageError, match="somebody_elses_model"):
        verify_package(package.folder, package.trust)


def test_encoding_that_reads_an_undeclared_feature_is_refused(package):
    def change(manifest):
        manifest["encoding"]["columns"][0]["feature"] = "smuggled"

    rewrite(package.folder, change)
    with pytest.raises(Exception, match="smuggled"):
        read_package(package.folder)


def test_features_keep_their_order(package):
    listed = list(german_credit()[0])
    assert list(read_package(package.folder).manifest.features) == listed
    rewrite(package.folder, lambda manifest: manifest["order"].pop())
    refused(package.folder, "package.manifest")


@pytest.mark.parametrize("digest", ["", "sha256:xyz", "sha256:" + "0" * 63, "../" + "0" * 64])
def test_text_that_is_no_digest_never_becomes_a_path(digest):
    with pytest.raises(PackageError):
        folder_name(digest)


def test_building_the_same_model_twice_gives_the_same_digest(tmp_path):
    from tests.builders import _cached, clean_up

    first = _cached("gradient_boosting", "twice", 1)[1]
    _cached.cache_clear()
    assert _cached("gradient_boosting", "twice", 1)[1] == first
    clean_up()


def test_package_holds_no_pickle(package):
    for path in package.folder.rglob("*.npz"):
        import zipfile

        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                header = archive.read(name)[:200]
                assert b"'|O'" not in header, f"{path.name}/{name} holds Python objects"
