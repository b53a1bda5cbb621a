"""Small parts: splits, limits, subjects, heads, routes."""

import hashlib
import hmac
from pathlib import Path
from types import SimpleNamespace

import pytest

from router.errors import ShedError, StartError
from router.head import read_head
from router.keys import KeyTable, key_row
from router.lifecycle import read_root_key
from router.limits import CALM, InFlight, Shedder
from router.routes import ROUTES, match
from router.settings import LimitSettings, decode_settings, encode_settings
from router.sockets import bind_sockets
from router.subject import SubjectHasher, ensure_subject_key, load_subject_key
from tests import router_world as world
from tests.builders import keys

TEXT = "ilk_" + "k" * 40


def test_places_in_flight_are_given_back() -> None:
    limit = InFlight(LimitSettings(in_flight=2, in_flight_per_key=1))
    key = KeyTable([key_row("k", TEXT, ["a"])]).find(TEXT.encode())
    with limit.hold(key):
        with pytest.raises(ShedError), limit.hold(key):
            pass
        with limit.hold(None), pytest.raises(ShedError), limit.hold(None):
            pass
    with limit.hold(key):
        assert limit.count == 1
    assert (limit.count, key.pending) == (0, 0)


def test_turn_of_a_late_loop_answers_for_as_long_as_the_limit_and_turns_away_the_rest() -> None:
    now, turns = [0.0], []
    shedder = Shedder(100.0, turns.append, lambda: now[0])
    shedder.measure(0.01)
    assert not shedder.active
    shedder.measure(0.05)
    assert shedder.active
    for _ in range(3):  # a request takes 10 ms
        shed = []
        for _ in range(30):
            shed.append(shedder.sheds())
            now[0] += 0.0 if shed[-1] else 0.0101
        assert shed == [False] * 10 + [True] * 20
        assert len(turns) == 1
        turns.pop()()


def test_connection_that_is_reached_again_and_again_has_not_waited_for_the_whole_turn() -> None:
    now, turns = [0.0], []
    shedder = Shedder(100.0, turns.append, lambda: now[0])
    shedder.measure(0.4)
    connections = [SimpleNamespace(reached=0.0) for _ in range(20)]
    for _ in range(10):  # rounds of 80 ms in one turn of 800 ms: nobody waits for longer than one
        for each in connections:
            assert not shedder.sheds(each)
            now[0] += 0.004
    assert shedder.sheds()  # it has been there since the turn began
    assert len(turns) == 1


def test_loop_that_is_in_time_again_times_no_turns() -> None:
    shedder = Shedder(100.0, lambda _: None)
    shedder.measure(0.4)
    assert shedder.active
    for _ in range(CALM):
        shedder.measure(0.01)
    assert not shedder.active


def test_subject_is_a_keyed_hash_with_the_name_of_its_key(tmp_path: Path) -> None:
    path = ensure_subject_key(tmp_path / "secrets" / "subject.key")
    assert path.stat().st_mode & 0o777 == 0o600
    secret = bytes.fromhex(path.read_text())
    hasher = load_subject_key(path)
    key_id, _, found = hasher.ref("47392").partition(":")
    assert found == hmac.new(secret, b"47392", hashlib.sha256).hexdigest()
    assert key_id == hasher.key_id
    assert ensure_subject_key(path).read_text() == path.read_text()
    assert SubjectHasher(b"x" * 32).ref("47392") != hasher.ref("47392")


def test_short_or_missing_subject_key_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "key"
    short.write_bytes(b"short")
    for path in (short, tmp_path / "none"):
        with pytest.raises(StartError):
            load_subject_key(path)


def test_root_key_is_read_from_text_or_file(tmp_path: Path) -> None:
    text = world.root_key()
    (tmp_path / "root.pub").write_text(text + "\n")
    assert read_root_key(text) == read_root_key(str(tmp_path / "root.pub")) == keys().root.public
    for bad in ("", "AAAA", "not base64!"):
        with pytest.raises(StartError):
            read_root_key(bad)


def test_settings_survive_the_pipe_to_a_worker(tmp_path: Path) -> None:
    settings = world.settings_for(tmp_path, subject_key=tmp_path / "k", redis_url="redis://x")
    assert decode_settings(encode_settings(settings)) == settings


def test_port_that_somebody_has_is_refused() -> None:
    taken = bind_sockets("127.0.0.1", 0, 2)
    try:
        port = taken[0].getsockname()[1]
        assert taken[1].getsockname()[1] == port
        with pytest.raises(StartError) as caught:
            bind_sockets("127.0.0.1", port, 1)
        assert caught.value.code == "port.in_use"
    finally:
        for each in taken:
            each.close()


def test_every_route_finds_itself() -> None:
    for route in ROUTES:
        path = route.path.replace("{endpoint}", "credit").replace("{version}", "7")
        found, endpoint, version = match(route.method, path)
        assert found is not None
        assert found.name == route.name
        assert (endpoint == "credit") == ("{endpoint}" in route.path)
        assert (version == "7") == ("{version}" in route.path)


def test_key_comes_as_bearer_or_api_key() -> None:
    def token(*headers: tuple[bytes, bytes]) -> bytes | None:
        return read_head(b"POST", b"/v1/predict", headers).token

    assert token((b"authorization", b"Bearer ilk_a")) == b"ilk_a"
    assert token((b"authorization", b"bearer  ilk_a ")) == b"ilk_a"
    assert token((b"x-api-key", b"ilk_b")) == b"ilk_b"
    assert token((b"x-api-key", b"ilk_b"), (b"authorization", b"Bearer ilk_a")) == b"ilk_a"
    assert token() is None
