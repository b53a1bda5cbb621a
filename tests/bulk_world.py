"""Bulk jobs on the pretend bank: input files, and the slow obvious way to answer a row."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from router.arms import Arm
from router.bulk.job import new_id, now_us, software
from router.bulk.manifest import Job
from router.bulk.places import LocalInputs, LocalOutput
from router.bulk.run import Plan, Run
from router.bulk.score import COLUMNS, uuid_word
from router.bulk.text import take_slowly
from router.wire.native import Row
from tests import router_world as world

RESULT = pa.schema(
    [
        ("row", pa.int64()), ("id", pa.string()), ("rule", pa.string()), ("model", pa.string()),
        ("version", pa.int64()), ("decision", pa.string()), ("label", pa.string()),
        ("value", pa.float64()), ("outputs", pa.string()), ("error", pa.string()),
    ]
)  # fmt: skip
EVIDENCE = pa.schema(
    [
        ("row", pa.int64()), ("id", pa.binary(16)), ("request_id", pa.string()),
        ("subject_ref", pa.string()), ("rule", pa.string()), ("decision", pa.string()),
        ("status", pa.int16()), ("features", pa.binary()), ("outputs", pa.binary()),
        ("error", pa.string()),
    ]
)  # fmt: skip
assert tuple(RESULT.names) == COLUMNS


class RowByRow:
    """Answers a batch one row after the other, through the functions of a single request."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self._alone = threading.Lock()  # scorers of single rows reuse their buffers

    def __call__(self, batch: pa.RecordBatch, first_row: int, ids: Any) -> Any:
        """Answer a batch."""
        with self._alone:
            return self._answered(batch, first_row, ids)

    def _answered(self, batch: pa.RecordBatch, first_row: int, ids: Any) -> Any:
        answers, evidence, routes = [], [], Counter()
        for place, values in enumerate(batch.to_pylist()):
            answer = {"row": first_row + place, "id": uuid_word(ids[place].tobytes())}
            given = {n: values.get(n) for n in self.endpoint.plain.names}
            raw = msgspec.json.encode({n: v for n, v in given.items() if v is not None})
            kept = {"row": first_row + place, "id": ids[place].tobytes(), "features": raw}
            found = take_slowly(self.endpoint, Row(msgspec.Raw(raw)))
            if isinstance(found, dict):
                self._answer(found, answer, routes)
                kept |= {"rule": answer["rule"], "decision": answer["decision"], "status": 200}
            else:
                answer["error"] = str(found)
                kept |= {"status": 422, "error": str(found)}
            answers.append(answer)
            evidence.append(kept)
        return SimpleNamespace(
            result=pa.RecordBatch.from_pylist(answers, RESULT),
            evidence=pa.Table.from_pylist(evidence, EVIDENCE),
            errors=sum("error" in each for each in answers),
            routes=dict(routes),
        )

    def _answer(self, values: dict[str, Any], answer: dict[str, Any], routes: Counter) -> None:
        endpoint = self.endpoint
        f = endpoint.plain.struct(**{n: values[n] for n in endpoint.plain.names})
        index = endpoint.route(f, endpoint.context.struct(), 0)
        arm = endpoint.arms[index]
        assert isinstance(arm, Arm)
        answer["rule"], answer["model"], answer["version"] = arm.rule, arm.model, arm.version
        routes[arm.model or ""] += 1
        if arm.score is None:
            answer["decision"] = "reject"
            return
        out = arm.score(f)
        chosen = endpoint.decide(f, endpoint.context.struct(), 0, out)
        answer["decision"] = endpoint.decided[chosen].decision
        answer["label"] = out[0]
        answer["outputs"] = endpoint.encode_outputs(out).decode()


def rows(count: int) -> list[dict[str, Any]]:
    """Applications as callers send them, with a case number and a subject."""
    found = []
    for number in range(count):
        changes = {"credit_amount": 1000 + 37 * (number % 211)}
        if number % 17 == 0:
            changes["purpose"] = "retraining"
        found.append(
            {
                "case": f"c{number}",
                "_subject": f"s{number % 7}",
                **world.row(number % 50, **changes),
            }
        )
    return found


def write(path: Path, given: list[dict[str, Any]], **options: Any) -> Path:
    """Rows as a file of the format that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(given)
    if path.suffix == ".ndjson":
        path.write_bytes(b"\n".join(map(msgspec.json.encode, given)) + b"\n")
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        pq.write_table(table, path, **options)
    else:
        make = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
        with make(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=options.get("row_group_size", 37))
    return path


def job_of(endpoint: Any, inputs: LocalInputs, **fields: Any) -> Job:
    """A job line with small units."""
    given = {
        "output_format": "parquet", "keys": ("case",), "unit_rows": 50, "batch_rows": 16,
        "shards": 1, **fields,
    }  # fmt: skip
    return Job(
        id=given.pop("id", new_id()),
        now_us=given.pop("now_us", now_us()),
        endpoint=endpoint.name,
        number=endpoint.number,
        digest=endpoint.digest,
        source="test",
        inputs=inputs.names,
        software=software(),
        **given,
    )


def run(endpoint: Any, source: Any, out: Any, **fields: Any) -> Run:
    """Run a job over files, answering row by row; places may be opened already."""
    plan_fields = {
        name: fields.pop(name)
        for name in ("resume", "shard", "max_bad", "workers", "check", "evidence", "decide")
        if name in fields
    }
    inputs = LocalInputs(str(source)) if isinstance(source, Path) else source
    plan = Plan(
        wanted=fields.pop("job", None) or job_of(endpoint, inputs, **fields),
        inputs=inputs,
        output=LocalOutput(out) if isinstance(out, Path) else out,
        endpoint=endpoint,
        subject_ref="ref-{}".format,
        **{"decide": RowByRow(endpoint), "workers": 2, **plan_fields},
    )
    found = Run(plan)
    found.complete = found.run()
    return found


def answers(out: Path) -> list[dict[str, Any]]:
    """All rows of all Parquet parts."""
    return [
        row
        for path in sorted(out.glob("part-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def parts(out: Path) -> dict[str, bytes]:
    """Bytes of all parts."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*"))}
