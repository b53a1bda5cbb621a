"""HTTP on the wire, the same on both lanes: framing, order, bounds, deadlines."""

import gzip
import zlib

import msgspec
import pytest

from tests import router_world as world
from tests.router_process import Wire, get, request

KEY = world.ROUTING_KEY
BODY = world.body(3, id="r1")


def ask(body: bytes = BODY, **fields: object) -> bytes:
    return request(body, key=KEY, **fields)  # type: ignore[arg-type]


def chunked(*parts: bytes) -> bytes:
    head = request(key=KEY, headers=(b"Transfer-Encoding: chunked",), length=False)
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def test_kept_connection_answers_again_and_again(port: int) -> None:
    with Wire(port) as wire:
        for number in range(5):
            answer = wire.send(ask(world.body(number, id=str(number)))).answer()
            assert (answer.status, answer.json["request_id"]) == (200, str(number))
            assert b"connection" not in answer.headers


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    calls = [ask(world.body(number, id=str(number))) for number in range(20)]
    calls[7:7] = [request(method="GET", path="/metrics")]
    calls[12:12] = [request(method="GET", path="/nope")]
    with Wire(port) as wire:
        wire.send(b"".join(calls))
        answers = [wire.answer() for _ in calls]
    statuses = [answer.status for answer in answers]
    assert statuses == [200] * 12 + [404] + [200] * 9
    ids = [each.json["request_id"] for n, each in enumerate(answers) if n not in (7, 12)]
    assert ids == [str(number) for number in range(20)]


def test_requests_cut_anywhere_are_put_together(port: int) -> None:
    whole = ask() + ask(world.body(4, id="second"))
    for cut in (1, 20, 60, 100, len(ask()) - 3, len(ask()) + 1, len(ask()) + 40):
        with Wire(port) as wire:
            wire.send(whole[:cut])
            assert wire.send(whole[cut:]).answer().json["request_id"] == "r1"
            assert wire.answer().json["request_id"] == "second"


def test_single_bytes_make_a_request(port: int) -> None:
    with Wire(port) as wire:
        wire.send(*[bytes([byte]) for byte in ask()])
        assert wire.answer().status == 200


def test_chunked_body_is_read_whole(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(chunked(BODY[:7], BODY[7:200], BODY[200:])).answer()
        assert (answer.status, answer.json["request_id"]) == (200, "r1")
        assert wire.send(ask()).answer().status == 200


def test_trailers_behind_a_chunked_body_are_dropped(port: int) -> None:
    raw = chunked(BODY)[:-2] + b"X-API-Key: ilk_other\r\n\r\n"
    with Wire(port) as wire:
        assert wire.send(raw).answer().status == 200


def test_expect_continue_is_answered_before_the_body(port: int) -> None:
    raw = ask(headers=(b"Expect: 100-continue",))
    head, body = raw[: -len(BODY)], raw[-len(BODY) :]
    with Wire(port) as wire:
        assert wire.send(head).answer().status == 100
        assert wire.send(body).answer().status == 200


def test_head_has_the_length_of_a_get_and_no_body(port: int) -> None:
    with Wire(port) as wire:
        wire.send(request(method="HEAD", path="/v2/health/live"))
        bare = wire.answer(bare=True)
        full = wire.send(request(method="GET", path="/v2/health/live")).answer()
    assert bare.status == full.status == 200
    assert bare.headers[b"content-length"] == b"%d" % len(full.body)


def test_http_1_0_is_answered_and_closed(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(ask(version="1.0", host=False)).answer()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert wire.closed()


def test_connection_close_is_honoured(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(ask(headers=(b"Connection: close",)) + ask()).answer()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert wire.closed()


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/credit"])
def test_upgrade_that_is_not_spoken_is_ignored(port: int, path: str) -> None:
    offer = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    with Wire(port) as wire:
        answer = wire.send(ask(headers=offer, path=path)).answer()
        assert (answer.status, answer.json["request_id"]) == (200, "r1")
        assert wire.send(ask()).answer().status == 200


def test_upgrade_with_a_chunked_body_in_pieces_is_ignored(port: int) -> None:
    offer = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    raw = chunked(BODY[:50], BODY[50:]).replace(b"\r\n\r\n", b"\r\n" + offer, 1)
    with Wire(port) as wire:
        wire.send(raw[:150])
        assert wire.send(raw[150:]).answer().status == 200


def test_body_beyond_the_limit_is_413_at_its_announcement(port: int) -> None:
    raw = request(key=KEY, headers=(b"Content-Length: 300000",), length=False)
    with Wire(port) as wire:
        answer = wire.send(raw).answer()
        assert (answer.status, answer.code) == (413, "body.too_large")
        assert answer.headers[b"connection"] == b"close"
        assert wire.closed()


def test_chunked_body_beyond_the_limit_is_413(port: int) -> None:
    raw = chunked(*[b" " * 30_000] * 20)
    with Wire(port) as wire:
        answer = wire.send(raw).answer()
        assert (answer.status, answer.code) == (413, "body.too_large")


@pytest.mark.parametrize(
    "extra",
    [(b"X-Big: " + b"a" * 9000,), tuple(b"X-%d: %b" % (n, b"a" * 90) for n in range(90))],
    ids=["one", "many"],
)
def test_head_beyond_the_limit_is_431(port: int, extra: tuple[bytes, ...]) -> None:
    with Wire(port) as wire:
        answer = wire.send(ask(headers=extra)).answer()
        assert (answer.status, answer.code) == (431, "head.too_large")
        assert wire.closed()


def test_large_body_behind_a_head_in_pieces_is_no_large_head(port: int) -> None:
    raw = ask(headers=(b"X-Padding: 1",), body=BODY + b" " * 60_000)
    for cut in (5, 40, raw.index(b"\r\n\r\n") + 2):
        with Wire(port) as wire, Wire(port) as other:
            wire.send(raw[:cut])
            assert other.send(ask()).answer().status == 200  # the first piece has been read
            assert wire.send(raw[cut:]).answer().status == 200


def test_head_without_end_is_431(port: int) -> None:
    with Wire(port) as wire:
        wire.send(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\n")
        try:
            for _ in range(2000):
                wire.send(b"X-A: " + b"a" * 1000 + b"\r\n")
        except OSError:
            pass  # it was ended while we sent on
        assert wire.rest().startswith((b"HTTP/1.1 431 ", b""))


def test_silent_connection_is_ended(port: int) -> None:
    with Wire(port) as wire:
        assert wire.closed()


def test_slow_head_is_408(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(b"POST /v1/predict HTTP/1.1\r\nHo").answer()
        assert (answer.status, answer.code) == (408, "http.timeout")
        assert wire.closed()


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/credit"])
def test_slow_body_is_408(port: int, path: str) -> None:
    with Wire(port) as wire:
        answer = wire.send(ask(path=path)[:-10]).answer()
        assert (answer.status, answer.code) == (408, "http.timeout")
        assert wire.closed()


def test_client_that_never_reads_is_ended_and_others_are_served(port: int) -> None:
    with Wire(port) as deaf:
        deaf.socket.setsockopt(1, 8, 4096)  # SO_RCVBUF: answers pile up at the server
        many = request(method="GET", path="/nope") * 400
        try:
            for _ in range(4000):
                deaf.send(many)
        except OSError:
            pass  # ended by the server, which is the promise
        else:
            pytest.fail("the server took everything from a client that reads nothing")
    with Wire(port) as other:
        assert other.send(ask()).answer().status == 200


def test_disconnect_within_a_body_harms_nobody(port: int) -> None:
    for cut in (10, 150, len(ask()) - 1):
        with Wire(port) as wire:
            wire.send(ask()[:cut])
    with Wire(port) as wire:
        assert wire.send(ask()).answer().status == 200


@pytest.mark.parametrize(
    ("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
)
def test_compressed_body_is_read(port: int, encoding: bytes, pack: object) -> None:
    packed = pack(BODY)  # type: ignore[operator]
    with Wire(port) as wire:
        answer = wire.send(ask(packed, headers=(b"Content-Encoding: " + encoding,))).answer()
        assert (answer.status, answer.json["request_id"]) == (200, "r1")


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        (b"gzip", b"not gzip", 400, "body.encoding"),
        (b"gzip", gzip.compress(BODY)[:-9], 400, "body.encoding"),
        (b"gzip", gzip.compress(b" " * 10_000_000), 413, "body.too_large"),
        (b"br", BODY, 400, "body.encoding"),
    ],
)
def test_bad_encoding_is_told(
    port: int, encoding: bytes, body: bytes, status: int, code: str
) -> None:
    with Wire(port) as wire:
        answer = wire.send(ask(body, headers=(b"Content-Encoding: " + encoding,))).answer()
        assert (answer.status, answer.code) == (status, code)


SMUGGLING = {
    "length and chunks": [b"Content-Length: 4", b"Transfer-Encoding: chunked"],
    "two lengths": [b"Content-Length: 4", b"Content-Length: 5"],
    "length list": [b"Content-Length: 4, 5"],
    "signed length": [b"Content-Length: +4"],
    "negative length": [b"Content-Length: -4"],
    "hex length": [b"Content-Length: 0x4"],
    "huge length": [b"Content-Length: 99999999999999999999999"],
    "other coding": [b"Transfer-Encoding: xchunked"],
    "coding behind chunked": [b"Transfer-Encoding: chunked, identity"],
    "coding before chunked": [b"Transfer-Encoding: gzip, chunked"],
    "chunked twice": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "space before colon": [b"Content-Length : 4"],
    "folded header": [b"X-A: b", b" Content-Length: 4"],
    "nul in value": [b"X-A: a\0b"],
    "no colon": [b"Content-Length"],
    "two hosts": [b"Host: other", b"Content-Length: 0"],
}


@pytest.mark.parametrize("shape", SMUGGLING, ids=lambda name: name.replace(" ", "-"))
def test_ambiguous_framing_is_one_400_and_the_end(port: int, shape: str) -> None:
    raw = request(key=KEY, headers=tuple(SMUGGLING[shape]), length=False)
    with Wire(port) as wire:
        answer = wire.send(raw + b"0\r\n\r\n" + ask()).answer()
        assert answer.status == 400
        assert answer.headers[b"connection"] == b"close"
        assert wire.closed()


@pytest.mark.parametrize("size", [b"-1", b"0x5", b"g", b"5 5", b"ffffffffffffffffff"])
def test_bad_chunk_size_is_one_400_and_the_end(port: int, size: bytes) -> None:
    head = request(key=KEY, headers=(b"Transfer-Encoding: chunked",), length=False)
    with Wire(port) as wire:
        answer = wire.send(head + size + b"\r\nhello\r\n0\r\n\r\n").answer()
        assert answer.status == 400
        assert wire.closed()


@pytest.mark.parametrize(
    "raw",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"],
)
def test_what_is_not_http_gets_a_problem_document(port: int, raw: bytes) -> None:
    with Wire(port) as wire:
        answer = wire.send(raw).answer()
        assert (answer.status, answer.code) == (400, "http.malformed")
        assert wire.closed()


def test_http_1_1_without_host_is_400(port: int) -> None:
    with Wire(port) as wire:
        assert wire.send(ask(host=False)).answer().code == "http.host"


def test_connect_is_refused(port: int) -> None:
    with Wire(port) as wire:
        raw = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"
        assert wire.send(raw).answer().status == 405
        assert wire.closed()


def test_wrong_method_names_the_right_ones(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(request(method="DELETE", path="/v1/predict")).answer()
        assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")
        answer = wire.send(request(method="POST", path="/livez")).answer()
        assert (answer.status, answer.headers[b"allow"]) == (405, b"GET, HEAD")


def test_v2_paths_have_errors_of_one_text(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(request(method="GET", path="/v2/nothing/here")).answer()
    assert answer.status == 404
    assert list(answer.json) == ["error"]
    assert answer.headers[b"content-type"] == b"application/json"


def without_time(raw: bytes) -> list[bytes]:
    """An exchange without ids and dates."""
    found = []
    for line in raw.split(b"\r\n"):
        if line.startswith(b'{"id":"'):
            found.append(line[45:])
        elif not line.lower().startswith(b"date:"):
            found.append(line)
    return found


EXCHANGES = [
    ask(),
    ask(path="/v1/predict/credit"),
    ask(path="/v1/predict/other"),
    ask(b"{}"),
    ask(b"nonsense"),
    ask(b""),
    ask(b'{"features":{}}'),
    ask(b'{"features":{"a":1},"id":"x"}'),
    ask(msgspec.json.encode({"rows": [{"features": world.row(1)}, {"features": {}}]})),
    ask(b"[" * 5000),
    ask(b'{"features":"\xff"}'),
    request(BODY),
    request(BODY, key="ilk_unknown"),
    request(BODY, headers=(b"X-API-Key: " + KEY.encode(),)),
    request(BODY, headers=(b"Authorization: Basic abc",)),
    request(method="GET", path="/livez"),
    request(method="GET", path="/readyz"),
    request(method="GET", path="/v2/health/ready"),
    request(method="HEAD", path="/livez"),
    request(method="GET", path="/v1/predict"),
    request(method="GET", path="/%2e%2e/secret?x=1"),
    request(method="OPTIONS", path="/v1/predict"),
]


@pytest.mark.parametrize("number", range(len(EXCHANGES)))
def test_lanes_give_equal_bytes(lanes: dict, number: int) -> None:
    said = []
    for lane in ("fast", "slow"):
        with Wire(lanes[lane].port) as wire:
            first = EXCHANGES[number]
            wire.send(first, b"GET /nope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            said.append(without_time(wire.rest()))
    assert said[0] == said[1]
    assert len(said[0]) > 8


def test_metrics_count_what_was_answered(port: int) -> None:
    with Wire(port) as wire:
        wire.send(ask()).answer()
    text = get(port, "/metrics").decode()
    assert 'interlock_route_decisions_total{endpoint="credit",release="7"' in text
    assert 'nv_inference_request_success{model="credit",version="7"}' in text
