"""Room in the spool folder: counted down between looks, seen again when files are gone."""

from pathlib import Path

import pytest

from serving.audit import room as module
from serving.audit.room import LOOK_NS, LOOK_SHARE, Room, SpoolFull, spool_bytes

LOOK_TAKES_NS = 1000
LIMIT = 1000


class World:
    """A folder and a clock that only looking moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ns = 0
        self.looks = 0
        self.room = Room(folder, LIMIT, lambda: self.now_ns)

    def look(self, folder: Path) -> int:
        self.looks += 1
        self.now_ns += LOOK_TAKES_NS
        return spool_bytes(folder)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path)
    monkeypatch.setattr(module, "spool_bytes", found.look)
    return found


def test_files_are_counted_from_one_look(world: World) -> None:
    (world.folder / "a").write_bytes(bytes(600))
    for _ in range(4):
        world.room.take(100)
    with pytest.raises(SpoolFull, match="has 0 of 1000 bytes left, 1 are wanted") as found:
        world.room.take(1)
    assert found.value.at == str(world.folder)
    assert world.looks == 1


def test_what_others_put_there_is_seen_with_the_next_look(world: World) -> None:
    world.room.take(100)
    (world.folder / "of another").write_bytes(bytes(LIMIT))
    world.room.take(100)
    world.now_ns += LOOK_NS
    with pytest.raises(SpoolFull):
        world.room.take(100)
    assert world.looks == 2


def test_room_that_comes_back_is_found_soon_and_not_looked_for_all_the_time(world: World) -> None:
    path = world.folder / "a"
    path.write_bytes(bytes(LIMIT))
    for _ in range(5):
        with pytest.raises(SpoolFull):
            world.room.take(1)
    assert world.looks == 1
    path.unlink()
    world.now_ns += LOOK_TAKES_NS * LOOK_SHARE
    world.room.take(LIMIT)
    assert world.looks == 2
