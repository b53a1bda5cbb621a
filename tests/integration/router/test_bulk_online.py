"""A file gets the answers that a router gives over HTTP, byte for byte."""

from __future__ import annotations

import random
import time

import msgspec
import pyarrow.parquet as pq
import pytest

from router.bulk.bind import columnar
from router.bulk.places import LocalInputs, LocalOutput
from router.bulk.verify import Again, check_parts
from router.bulk.watch import pin
from tests import bulk_world, router_world
from tests.bulk_world import answers, run
from tests.router_process import RouterProcess, Wire, request

AT_ONCE = 2000  # a stream that nobody reads while it is written would wait for ever
COLUMNS = ("rule", "model", "version", "decision", "label", "value")
NULL = msgspec.Raw(b"null")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    router_world.publish(folder)
    return folder


@pytest.fixture(scope="module")
def router(home):
    process = RouterProcess(router_world.settings_for(home), home / "log").wait_ready()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def endpoint(home):
    return pin(router_world.settings_for(home), "credit")[0]


def lines(count: int, seed: int) -> list[bytes]:
    """Requests, a few of them wrong in some way."""
    drawn = random.Random(seed)
    found = []
    for number in range(count):
        row = router_world.row(
            drawn.randrange(1000), credit_amount=drawn.randrange(100, 20_000),
            duration_in_month=drawn.randrange(1, 72),
        )  # fmt: skip
        if drawn.random() < 0.01:
            name = drawn.choice(sorted(row))
            row[name] = drawn.choice([None, "?", -1, 1e300, True, [], 2.5])
        if drawn.random() < 0.003:
            row["unknown"] = 1
        line = msgspec.json.encode({"features": row, "subject": f"s{number % 90}"})
        found.append(line[:-2] if drawn.random() < 0.003 else line)
    return found


def streamed(router, given: list[bytes]) -> list[bytes]:
    """Answers of a stream."""
    sent = request(
        b"\n".join(given), path="/v1/stream/credit", key=router_world.ROUTING_KEY,
        headers=(b"Content-Type: application/x-ndjson",),
    )  # fmt: skip
    with Wire(router.port, 60) as wire:
        return wire.send(sent).answer().body.splitlines()


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_bulk_equals_online_bit_for_bit(home, router, endpoint, tmp_path, count):
    given = lines(count, seed=count)
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\n".join(given))
    run(endpoint, path, tmp_path / "out", unit_rows=4096, batch_rows=777, keys=(),
        decide=columnar(endpoint, str, time.time_ns() // 1000))  # fmt: skip
    found = answers(tmp_path / "out")
    online = [
        line
        for start in range(0, count, AT_ONCE)
        for line in streamed(router, given[start : start + AT_ONCE])
    ]
    assert len(found) == len(online) == count
    wrong = 0
    for row, line in zip(found, online, strict=True):
        answer = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        if row["error"] is not None:
            problem = msgspec.json.decode(answer["error"])
            code = (problem.get("errors") or [problem])[0]["code"]
            assert row["error"].partition(":")[0] == code, line
            wrong += 1
            continue
        for name in COLUMNS:
            assert row[name] == msgspec.json.decode(answer.get(name, NULL)), (name, line)
        assert (row["outputs"] or "null").encode() == bytes(answer.get("outputs", NULL))
    assert 0 < wrong < count / 10


def test_every_format_and_the_slow_way_agree_with_columns(endpoint, tmp_path):
    given = bulk_world.rows(400)
    source = tmp_path / "in"
    for suffix in (".parquet", ".arrow", ".arrows", ".ndjson", ".csv"):
        bulk_world.write(source / f"rows{suffix}", given)
    fast = run(endpoint, source, tmp_path / "fast", workers=2,
               decide=columnar(endpoint, str, 1))  # fmt: skip
    run(endpoint, source, tmp_path / "slow", job=fast.job)
    names = sorted(path.name for path in (tmp_path / "fast").glob("part-*"))
    assert len(names) == 40
    for name in names:
        one, two = (pq.read_table(tmp_path / each / name) for each in ("fast", "slow"))
        assert one.equals(two), name


def test_verification_scores_again_and_finds_a_part_that_was_not_scored(endpoint, tmp_path):
    path = bulk_world.write(tmp_path / "rows.parquet", bulk_world.rows(120))
    decide = columnar(endpoint, str, 1)
    run(endpoint, path, tmp_path / "out", decide=decide)
    output = LocalOutput(tmp_path / "out")
    again = Again(output, LocalInputs(str(path)), endpoint, lambda _: decide)
    assert check_parts(output) == again.differences(3) == []

    def other(batch, first_row, ids):
        found = decide(batch, first_row, ids)
        turned = found.result.set_column(4, "version", found.result.column("row"))
        return msgspec.structs.replace(found, result=turned)

    again = Again(output, LocalInputs(str(path)), endpoint, lambda _: other)
    assert len(again.differences(3)) == 3
    part = next((tmp_path / "out").glob("part-*"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert part.name in check_parts(output)[0]
