import msgspec
import pytest

from loadtest.errors import LoadTestError
from loadtest.plan import Limits, Load, Plan, Sender, Target, Template, check_plan, parse_target
from loadtest.requests import build_request, parse_header
from loadtest.schedule import constant

HERE = Target("127.0.0.1", 8080)
PLAN = Plan((HERE,), (Template(b"GET / HTTP/1.1\r\n\r\n"),), Load(constant(100, 10)))


def changed(**fields):
    return msgspec.structs.replace(PLAN, **fields)


def test_plan_against_this_machine_is_accepted():
    check_plan(PLAN)


@pytest.mark.parametrize("host", ["10.0.0.7", "example.com", "192.168.1.9", "2001:db8::1"])
def test_other_machines_need_the_word_that_they_are_ones_own(host):
    plan = changed(targets=(Target(host, 80),))
    with pytest.raises(LoadTestError, match="is not this machine") as caught:
        check_plan(plan)
    assert "--i-own-this-target" in caught.value.hint
    check_plan(msgspec.structs.replace(plan, owned=True))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_needs_no_word(host):
    check_plan(changed(targets=(Target(host, 80),)))


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"load": Load(constant(1e6, 3000))}, "--rate"),
        ({"load": Load(constant(0, 10))}, "--rate"),
        ({"load": Load(constant(-5, 10))}, "--rate"),
        ({"load": Load(constant(1, 7200))}, "--duration"),
        ({"load": Load(constant(1, 0))}, "--duration"),
        ({"load": Load(constant(1, 1), warmup_s=-1)}, "--warmup"),
        ({"limits": Limits(max_requests=0)}, "--max-requests"),
        ({"limits": Limits(timeout_s=0)}, "--timeout"),
        ({"limits": Limits(max_inflight=0)}, "--max-inflight"),
        ({"sender": Sender(processes=0)}, "--processes"),
        ({"sender": Sender(abandon=1.5)}, "--abandon"),
        ({"templates": ()}, "--payload"),
    ],
)
def test_bounds_are_hard_and_name_the_flag(fields, flag):
    with pytest.raises(LoadTestError) as caught:
        check_plan(changed(**fields))
    assert caught.value.at == flag


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://h:port", "http://h:99999999"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(LoadTestError, match="expected a URL"):
        parse_target(url)


def test_address_is_read_with_its_usual_defaults():
    assert parse_target("https://gate.example").port == 443
    assert parse_target("127.0.0.1:9").port == 9
    assert parse_target("http://[::1]:9").authority == "[::1]:9"


def test_request_is_complete_http():
    data = build_request(HERE, "/v1/predict", b"{}", headers=(("X-A", "b"),))
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /v1/predict HTTP/1.1",
        b"Host: 127.0.0.1:8080",
        b"X-A: b",
        b"Content-Type: application/json",
        b"Content-Length: 2",
    ]
    assert body == b"{}"


@pytest.mark.parametrize(
    ("name", "value"), [("Content-Length", "9"), ("X", "a\r\nEvil: b"), ("", "x"), ("host", "h")]
)
def test_header_that_would_break_the_request_is_refused(name, value):
    with pytest.raises(LoadTestError):
        build_request(HERE, "/", b"", headers=((name, value),))


@pytest.mark.parametrize("path", ["x", "/a b", "/a\r\nX: y"])
def test_path_that_would_break_the_request_line_is_refused(path):
    with pytest.raises(LoadTestError):
        build_request(HERE, path, b"")


def test_header_flag_without_colon_is_refused():
    with pytest.raises(LoadTestError, match="Name: value"):
        parse_header("nothing")
