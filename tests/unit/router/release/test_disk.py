"""The node's own copy: whole or not at all."""

from pathlib import Path

import pytest

from router.errors import ReleaseRefusedError
from router.release.disk import FILE, Snapshot, read_snapshot, save
from router.release.spec import canonical, read_content
from tests import router_world as world


def test_copy_comes_back_as_it_was_written(tmp_path: Path) -> None:
    snapshot = Snapshot(b"roster", (), (world.routing_key(),), 3, 1.5)
    assert read_snapshot(tmp_path) is None
    save(tmp_path, snapshot)
    assert read_snapshot(tmp_path) == snapshot
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [FILE]


def test_every_cut_of_a_copy_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, Snapshot(b"roster", (), (world.routing_key(),)))
    raw = path.read_bytes()
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        with pytest.raises(ReleaseRefusedError):
            read_snapshot(tmp_path)


def test_features_keep_their_order_through_canonical_json(tmp_path: Path) -> None:
    content = world.credit(tmp_path)
    raw = canonical(content)
    again = read_content(raw)
    assert list(again.features) == list(world.features()) != sorted(world.features())
    assert canonical(again) == raw
