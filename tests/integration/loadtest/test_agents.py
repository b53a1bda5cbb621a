import re
import socket
import subprocess
import sys
import threading

import msgspec
import numpy as np
import pytest

from loadtest.agents import execute_on_agents, parse_agent, read_clock, serve_agent
from loadtest.agentwire import Channel, Ping, Pong
from loadtest.errors import LoadTestError
from loadtest.plan import Load, Plan, Sender, Target, Template
from loadtest.processes import null_server
from loadtest.record import GOOD
from loadtest.requests import build_request
from loadtest.schedule import build_schedule, constant
from loadtest.show import agent_lines
from loadtest.summary import summarise

TOKEN = b"a token that is long enough"


def plan_for(port, **fields):
    target = Target("127.0.0.1", port)
    template = Template(build_request(target, "/", b"{}"))
    plan = Plan((target,), (template,), Load(constant(300, 1)), sender=Sender(connections=4))
    return msgspec.structs.replace(plan, **fields)


@pytest.fixture
def agent():
    """An agent in a thread that serves one controller; its address and what it said."""
    said = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(
            target=serve_agent, args=(listener, TOKEN),
            kwargs={"owned": False, "sessions": 1, "tell": said.append},
        )  # fmt: skip
        thread.start()
        yield listener.getsockname()[:2], said, thread
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_two_agents_send_one_schedule_between_them():
    command = [sys.executable, "-m", "interlock", "loadtest", "agent", "--listen", "127.0.0.1:0",
               "--sessions", "1", "--token", TOKEN.decode()]  # fmt: skip
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        addresses = tuple(
            parse_agent(re.search(r"on (\S+)", child.stdout.readline())[1]) for child in children
        )
        with null_server() as (port, _):
            plan = plan_for(port)
            raw = execute_on_agents(plan, addresses, TOKEN)
        assert [child.wait(timeout=20) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()
    assert np.abs(raw.records.scheduled - raw.start_ns - build_schedule(plan.load)).max() < 1e6
    assert (raw.records.outcome == GOOD).all()
    assert len(raw.reports) == 2
    summary = summarise(plan, raw)
    assert summary.figures.goodput_share == 1.0
    assert summary.figures.samples == len(build_schedule(plan.load))
    assert [clock.agent for clock in summary.agents] == [f"{h}:{p}" for h, p in addresses]
    shares = [clock.requests for clock in raw.clocks]
    assert sum(shares) == summary.figures.requests
    assert max(shares) - min(shares) <= 1
    assert all(0 <= clock.doubt_us < 1e6 and clock.drift_us < 1e6 for clock in raw.clocks)
    assert "sent" in agent_lines(summary)[1]


def test_controller_without_the_token_is_turned_away(agent):
    address, said, thread = agent
    with pytest.raises(LoadTestError):
        execute_on_agents(plan_for(1), (address,), b"another token of that length")
    thread.join(timeout=30)
    assert "does not know the token" in said[0]


def test_agent_refuses_targets_that_its_owner_did_not_claim(agent):
    address, _, _ = agent
    plan = plan_for(1, targets=(Target("192.0.2.1", 80),), owned=True)
    with pytest.raises(LoadTestError, match="is not this machine"):
        execute_on_agents(plan, (address,), TOKEN)


def test_agent_whose_target_is_down_says_so(agent):
    address, _, _ = agent
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LoadTestError, match="cannot connect"):
        execute_on_agents(plan_for(port), (address,), TOKEN)


def test_agent_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()[:2]
    with pytest.raises(LoadTestError, match="cannot reach agent"):
        execute_on_agents(plan_for(1), (address,), TOKEN)


def test_closed_loop_cannot_be_shared():
    with pytest.raises(LoadTestError, match="closed loop"):
        execute_on_agents(plan_for(1, load=Load(constant(0, 1), closed=2)), (("h", 1),), TOKEN)


def pair():
    left, right = socket.socketpair()
    made = []
    thread = threading.Thread(target=lambda: made.append(Channel(right, TOKEN, agent=True)))
    thread.start()
    controller = Channel(left, TOKEN, agent=False)
    thread.join()
    return controller, made[0]


def test_clock_of_the_other_side_is_read_to_within_its_quickest_round_trip():
    controller, other = pair()
    shift = 5_000_000_000_000

    def answer():
        import time

        for _ in range(32):
            other.expect(Ping)
            other.send(Pong(time.monotonic_ns() + shift))

    thread = threading.Thread(target=answer)
    thread.start()
    with controller, other:
        offset, trip = read_clock(controller)
        assert abs(offset - shift) <= trip
        thread.join()


def test_frame_that_was_sent_before_is_refused_when_sent_again():
    controller, other = pair()
    with controller, other:
        sent = []
        controller._stream = Recorder(controller._stream, sent)
        controller.send(Ping())
        other.expect(Ping)
        controller._stream.sendall(sent[0])
        with pytest.raises(LoadTestError, match="token"):
            other.receive()


class Recorder:
    def __init__(self, stream, sent):
        self.stream, self.sent = stream, sent

    def sendall(self, data):
        self.sent.append(data)
        self.stream.sendall(data)

    def close(self):
        self.stream.close()


@pytest.mark.parametrize("text", ["", "host", "host:", ":9", "host:port"])
def test_what_is_no_agent_address_is_refused(text):
    with pytest.raises(LoadTestError, match="HOST:PORT"):
        parse_agent(text)


def test_short_token_is_refused():
    left, right = socket.socketpair()
    with left, right, pytest.raises(LoadTestError, match="at least 16"):
        Channel(left, b"short", agent=False)
