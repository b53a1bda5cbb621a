"""Streams in every form, with either evidence: the same results, errors in place, limits kept."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from router.columnar.ipc import END, MAX_METADATA, BatchReader, Messages
from router.errors import BodyError, TooLargeError
from router.release.spec import Policies
from tests import router_world as world
from tests.router_process import RouterProcess, Wire, request

NDJSON, CSV = b"application/x-ndjson", b"text/csv"
ARROW = b"application/vnd.apache.arrow.stream"
ROWS = 3000
BAD = 1234
RESULT = ("rule", "model", "version", "decision", "label", "outputs")


@pytest.fixture(scope="module", params=["records", "parts"])
def router(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RouterProcess]:
    home = tmp_path_factory.mktemp("streams")
    policies = Policies(stream_evidence=request.param)
    world.publish(home, (world.credit(home / "artifacts", policies=policies),))
    process = RouterProcess(world.settings_for(home), home / "log").wait_ready()
    yield process
    process.stop()


def send(port: int, body: bytes, kind: bytes, *headers: bytes) -> Any:
    with Wire(port, 60) as wire:
        raw = request(
            body, key=world.ROUTING_KEY, path="/v1/stream/credit",
            headers=(b"Content-Type: " + kind, *headers),
        )  # fmt: skip
        return wire.send(raw).answer()


def rows_of() -> list[dict[str, Any]]:
    return [world.row(n % 200, credit_amount=300 + n) for n in range(ROWS)]


def arrow_body(rows: list[dict[str, Any]], *, size: int = 700, **more: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    for name, values in more.items():
        table = table.append_column(name, values)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=size)
    return sink.getvalue()


def arrow_rows(body: bytes) -> list[dict[str, Any]]:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all().to_pylist()


def test_three_forms_get_the_same_results(router: RouterProcess) -> None:
    rows = rows_of()
    lines = [json.dumps({"features": row}).encode() for row in rows]
    lines[BAD] = b"{"
    answer = send(router.port, b"\n".join(lines), NDJSON)
    found = [json.loads(line) for line in answer.body.splitlines()]
    assert [each["row"] for each in found] == list(range(ROWS))
    assert found[BAD]["error"]["code"] == "body.json"

    changed = [dict(row) for row in rows]
    changed[BAD]["credit_amount"] = None
    for body in (
        arrow_body(changed),
        arrow_body(changed, _subject=pa.array([f"s{n}" for n in range(ROWS)]).dictionary_encode()),
    ):
        answer = send(router.port, body, ARROW)
        assert answer.headers[b"content-type"] == ARROW
        other = arrow_rows(answer.body)
        assert [each["row"] for each in other] == list(range(ROWS))
        assert other[BAD]["error"].startswith("features.missing: ")
        for place in (n for n in range(ROWS) if n != BAD):
            expected = found[place]
            assert other[place]["error"] is None
            assert json.loads(other[place]["outputs"] or "null") == expected["outputs"]
            assert [other[place][name] for name in RESULT[:-1]] == [
                expected.get(name) for name in RESULT[:-1]
            ]

    names = list(rows[0])
    text = [",".join(names)]
    text += [
        ",".join(f'"{row[n]}"' if isinstance(row[n], str) else str(row[n]) for n in names)
        for row in rows
    ]
    text[BAD + 1] = "1,2"
    answer = send(router.port, "\n".join(text).encode(), CSV)
    table = [line.split(",", 7) for line in answer.body.decode().splitlines()]
    assert [each[0] for each in table[1:]] == [str(n) for n in range(ROWS)]
    assert "body.csv" in table[BAD + 1][7]
    assert all(
        each[2] == found[place]["rule"] and each[6] == found[place].get("label", "")
        for place, each in enumerate(table[1:])
        if place != BAD
    )


def test_a_large_batch_is_answered_part_by_part(router: RouterProcess) -> None:
    rows = [world.row(n % 50) for n in range(20_000)]
    found = arrow_rows(send(router.port, arrow_body(rows, size=20_000), ARROW).body)
    assert [each["row"] for each in found] == list(range(20_000))
    assert {each["error"] for each in found} == {None}
    assert len({each["id"] for each in found}) == 20_000


def test_a_stream_that_goes_on_numbers_its_rows_from_there(router: RouterProcess) -> None:
    body = json.dumps({"features": world.row(1)}).encode() + b"\n"
    answer = send(router.port, body * 2, NDJSON, b"X-Start-Row: 5000")
    assert [json.loads(each)["row"] for each in answer.body.splitlines()] == [5000, 5001]
    answer = send(router.port, arrow_body([world.row(1)]), ARROW, b"X-Start-Row: 7")
    assert [each["row"] for each in arrow_rows(answer.body)] == [7]
    answer = send(router.port, body, NDJSON, b"X-Start-Row: -1")
    assert (answer.status, answer.code) == (400, "body.shape")


def test_a_column_that_is_not_declared_or_missing_is_an_error_of_its_rows(
    router: RouterProcess,
) -> None:
    rows = [world.row(n) for n in range(3)]
    lacking = [{k: v for k, v in row.items() if k != "credit_amount"} for row in rows]
    found = arrow_rows(send(router.port, arrow_body(lacking), ARROW).body)
    assert [each["error"].partition(":")[0] for each in found] == ["features.missing"] * 3
    wordy = [{**row, "credit_amount": "many"} for row in rows]
    found = arrow_rows(send(router.port, arrow_body(wordy), ARROW).body)
    assert [each["error"].partition(":")[0] for each in found] == ["features.type"] * 3


def test_what_is_no_arrow_stream_is_said_in_a_last_row_and_hurts_nobody(
    router: RouterProcess,
) -> None:
    good = arrow_body([world.row(n) for n in range(5)], size=2)
    for body, code in (
        (b"not arrow at all", "body.arrow"),
        (good[: len(good) - 40], "body.arrow"),
        (good[:40] + b"\xff" * 40 + good[80:], "body."),
    ):
        answer = send(router.port, body, ARROW)
        found = arrow_rows(answer.body)
        assert answer.status == 200
        assert found[-1]["error"].startswith(code)
        assert not answer.body.endswith(END)
    answer = send(router.port, good, ARROW)
    assert (len(arrow_rows(answer.body)), answer.body.endswith(END)) == (5, True)


def messages(raw: bytes, size: int = 7) -> list[Any]:
    taker = Messages()
    found = []
    for at in range(0, len(raw), size):
        found += list(taker.feed(raw[at : at + size]))
    taker.finish()
    return found


def test_messages_are_cut_from_pieces_of_any_size() -> None:
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    sink = io.BytesIO()
    batch = pa.record_batch({"x": [1.0, 2.0, None], "w": words})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch.slice(1))
    for size in (1, 7, 1 << 16):
        reader = BatchReader()
        taken = [reader.take(each) for each in messages(sink.getvalue(), size)]
        batches = [each for each in taken if each is not None]
        assert [each.to_pydict() for each in batches] == [
            batch.to_pydict(), batch.slice(1).to_pydict(),
        ]  # fmt: skip


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    raw = arrow_body([{"x": 1.5, "w": "one"}, {"x": 2.5, "w": "two"}])
    for at in range(len(raw)):
        for value in (0, 0xFF, raw[at] ^ 0x10):
            damaged = raw[:at] + bytes([value]) + raw[at + 1 :]
            reader = BatchReader()
            try:
                for each in messages(damaged, 1 << 16):
                    batch = reader.take(each)
                    if batch is not None:
                        batch.to_pylist()
            except (BodyError, TooLargeError):
                continue
            except UnicodeDecodeError:
                pytest.fail(f"byte {at} reached a value")


def test_claims_beyond_the_limits_are_refused_before_they_are_believed() -> None:
    with pytest.raises(TooLargeError):
        list(Messages().feed(struct.pack("<Ii", 0xFFFFFFFF, MAX_METADATA + 1)))
    sink = io.BytesIO()
    batch = pa.record_batch({"x": list(range(1000))})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    with pytest.raises(BodyError, match="compressed"):
        messages(sink.getvalue())
    sink = io.BytesIO()
    huge = pa.record_batch({"x": pa.nulls((1 << 20) + 1)})
    with pa.ipc.new_stream(sink, huge.schema) as writer:
        writer.write_batch(huge)
    with pytest.raises(TooLargeError, match="rows"):
        messages(sink.getvalue())
