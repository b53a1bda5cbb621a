"""A package built elsewhere comes in: streamed with a bound, verified, stored, then registered.

The body is a tar archive of the package folder. Nothing of it is used before every file was
checked against the manifest and the builder's signature against the roster; who pushes is a
contributor, as is whoever the package names, so none of them can approve it.
"""

from __future__ import annotations

import asyncio
import re
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from compiler.identity import Trust
from compiler.package import MANIFEST, Package, PackageError, verify_package
from control_plane import adminlog
from control_plane.db.pool import Connection, Pool
from control_plane.errors import ConflictError, TooLargeError
from control_plane.identity.roster import current_trust
from control_plane.identity.user import User
from control_plane.registry.service import (
    add_contributor,
    check_name,
    register_package,
    reserve_version,
)
from serving.store import ArtifactStore

MAX_PUSH_BYTES = 1 << 30
MAX_FILES = 32
_NAME = re.compile(r"(signatures/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Pushed(Struct):
    """What was registered."""

    model: str
    version: int
    package: str
    builder: str


async def push(
    pool: Pool, user: User, chunks: AsyncIterator[bytes], *, root_public: bytes, store: str
) -> Pushed:
    """Take a package: verified before use, stored before it is registered.

    Args:
        pool: database.
        user: who pushes; he becomes a contributor.
        chunks: a tar archive of the package folder.
        root_public: the root key.
        store: artifact store.

    Raises:
        TooLargeError: the body passes ``MAX_PUSH_BYTES``.
        PackageError: not an archive of a package, or a damaged or unsigned one.
        SignatureError, RoleError: signed by nobody who may build.
        ConflictError: ``model.version``: it is not the next version of its model.
        StoreError: the store cannot take it.
    """
    async with pool.connection() as connection:
        trust = await current_trust(connection, root_public)
    with tempfile.TemporaryDirectory(prefix="interlock-push-") as name:
        folder = Path(name)
        await _receive(chunks, folder / "body.tar")
        package, builder = await asyncio.to_thread(_verified, folder, trust)
        check_name(package.manifest.name)
        async with pool.transaction() as connection:
            await _register(connection, package, builder, user)
            await asyncio.to_thread(ArtifactStore.open(store).publish, package.folder)
    manifest = package.manifest
    return Pushed(manifest.name, manifest.version, package.digest, builder)


async def _receive(chunks: AsyncIterator[bytes], path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > MAX_PUSH_BYTES:
                raise TooLargeError(
                    f"expected a package of at most {MAX_PUSH_BYTES} bytes",
                    code="package.size",
                    hint="put it into the artifact store with --store, and register it from there",
                )
            await asyncio.to_thread(file.write, chunk)


def _verified(folder: Path, trust: Trust) -> tuple[Package, str]:
    target = folder / "package"
    (target / "signatures").mkdir(parents=True)
    unpack(folder / "body.tar", target)
    return verify_package(target, trust)


def unpack(archive: Path, target: Path) -> None:
    """Write the plain files of an archive into a folder; anything else is refused.

    Raises:
        PackageError: not a tar archive, too many files, or names that leave the folder.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            for count, member in enumerate(tar):
                name = member.name.removeprefix("./")
                if member.isdir() and name in {"", ".", "signatures"}:
                    continue
                if not member.isreg() or not _NAME.fullmatch(name) or count >= MAX_FILES:
                    raise PackageError(
                        f"the archive holds what no package has: {name[:80]!r}",
                        code="package.path",
                    )
                content = tar.extractfile(member)
                assert content is not None
                (target / name).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise PackageError(
            f"expected a tar archive of a package folder: {error}",
            code="package.archive",
            hint="interlock models push makes one",
        ) from error


async def _register(connection: Connection, package: Package, builder: str, user: User) -> None:
    manifest = package.manifest
    version = await reserve_version(connection, manifest.name, user)
    if version != manifest.version:
        raise ConflictError(
            f"expected version {version} of {manifest.name}, the package is version "
            f"{manifest.version}",
            code="model.version",
            hint=f"build it again as version {version}",
        )
    raw = (package.folder / MANIFEST).read_bytes()
    if "@" in builder:  # a person's key, not the machine's
        await add_contributor(connection, manifest.name, version, builder, "signed")
    await register_package(connection, manifest.name, version, package.digest, raw)
    await adminlog.note(
        connection, user.email, "model.push", f"{manifest.name}/{version}",
        package=package.digest, builder=builder,
    )  # fmt: skip
