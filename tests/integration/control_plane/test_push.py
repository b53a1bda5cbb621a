"""A package built elsewhere: verified before anything of it is used, its bringer a contributor."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from compiler.package import read_package, sign_package
from compiler.signing import KeyPair
from control_plane.registry import push
from interlock.commands.models import _archive
from tests.builders import CONTRIBUTOR, signed_package

TAR = {"Content_Type": "application/x-tar"}
VERSION = "/models/quick_approval/versions/1"


@pytest.fixture
def folder(house: Any, tmp_path: Path) -> Path:
    found = signed_package(tmp_path / "built").folder
    sign_package(found, house.builder)
    return found


def archive(folder: Path) -> bytes:
    return _archive(read_package(folder, expected_digest=None))


async def test_pushed_package_is_stored_and_validated_and_its_makers_cannot_approve(
    house: Any, staff: Any, folder: Path
) -> None:
    answer = await staff["scientist"].call("POST", "/models", archive(folder), **TAR)
    assert answer.status == 201, answer.raw
    digest = answer.body["package"]
    assert digest == "sha256:" + folder.name
    assert answer.body["builder"] == "builder"
    store = Path(house.settings.artifact_store) / "packages" / folder.name
    assert read_package(store, expected_digest=digest).digest == digest
    version = await staff["scientist"].get(VERSION)
    assert (version["state"], version["package"]) == ("validated", digest)
    assert set(version["contributors"]) == {staff["scientist"].email, CONTRIBUTOR}
    await staff["scientist"].post(VERSION + "/submit")
    await staff["manager"].read_reports(VERSION)
    await staff["manager"].approve(VERSION)


async def test_only_who_makes_models_may_push(staff: Any, folder: Path) -> None:
    for role in ("admin", "manager", "compliance"):
        refused = await staff[role].refused("POST", "/models", archive(folder), **TAR)
        assert refused == (403, "permission.denied")


async def test_same_version_again_is_refused_and_nothing_is_half_written(
    staff: Any, folder: Path
) -> None:
    await staff["scientist"].post("/models", archive(folder), **TAR)
    answer = await staff["scientist"].call("POST", "/models", archive(folder), **TAR)
    assert (answer.status, answer.code) == (409, "model.version")
    assert "version 2" in answer.body["hint"]
    page = await staff["scientist"].get("/models/quick_approval/versions")
    assert [row["version"] for row in page["items"]] == [1]


@pytest.mark.parametrize(
    ("damage", "status", "code"),
    [
        ("unsigned", 422, "package.unsigned"),
        ("stranger", 403, "signature.unknown_key"),
        ("changed", 422, "package.digest"),
        ("truncated", 422, None),
        ("nonsense", 422, "package.archive"),
        ("escape", 422, "package.path"),
        ("link", 422, "package.path"),
    ],
)
async def test_damaged_package_is_refused_by_name(
    house: Any, staff: Any, folder: Path, damage: str, status: int, code: str | None
) -> None:
    body = archive(folder)
    if damage == "unsigned":
        (folder / "signatures" / "builder.dsse.json").unlink()
        body = archive(folder)
    elif damage == "stranger":
        sign_package(folder, KeyPair.generate())
        body = archive(folder)
    elif damage == "changed":
        at = body.index((folder / "model.onnx").read_bytes()) + 100
        body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    elif damage == "truncated":
        body = body[: len(body) // 2]
    elif damage == "nonsense":
        body = b"not an archive " * 100
    else:
        body = with_member(body, damage)
    answer = await staff["scientist"].call("POST", "/models", body, **TAR)
    assert answer.status == status, answer.raw
    assert code is None or answer.code == code
    assert (await staff["scientist"].call("GET", "/models/quick_approval")).status == 404
    assert not (Path(house.settings.artifact_store) / "packages" / folder.name).exists()


def with_member(body: bytes, damage: str) -> bytes:
    buffer = io.BytesIO(body)
    with tarfile.open(fileobj=buffer, mode="a:") as tar:
        member = tarfile.TarInfo("../outside" if damage == "escape" else "link.onnx")
        if damage == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    return buffer.getvalue()


async def test_package_beyond_the_limit_is_refused(
    staff: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "MAX_PUSH_BYTES", 1000)
    answer = await staff["scientist"].call("POST", "/models", archive(folder), **TAR)
    assert (answer.status, answer.code) == (413, "package.size")
