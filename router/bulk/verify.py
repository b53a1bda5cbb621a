"""Looking at a job from outside: how far it is, and whether its output is what was scored."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from router.bulk.blocks import Reading
from router.bulk.errors import BulkError
from router.bulk.formats import format_of
from router.bulk.job import all_manifests, missing_units, success
from router.bulk.manifest import SUCCESS, Job, UnitLine
from router.bulk.places import Inputs, Output
from router.bulk.reader import read_blocks
from router.bulk.run import plain_words
from router.bulk.score import Decide, Scorer
from router.bulk.units import plan_units
from router.bulk.writer import write_part
from serving.files import file_digest

if TYPE_CHECKING:
    from router.endpoint import Endpoint

SAMPLE_UNITS = 3


class Status(Struct, frozen=True):
    """How far a job is.

    Attributes:
        job: id.
        endpoint: that answers.
        release: its number.
        shards: how many shares there are, and how many have begun.
        files: input files.
        parts: parts done.
        rows: rows answered.
        errors: of these, how many carry an error.
        routes: rows per model.
        missing: what is still to be done, in words.
        complete: the proof is there and holds.
    """

    job: str
    endpoint: str
    release: int
    shards: tuple[int, int]
    files: int
    parts: int
    rows: int
    errors: int
    routes: dict[str, int]
    missing: list[str]
    complete: bool


def load(output: Output) -> tuple[Job, dict[tuple[int, int], UnitLine], int]:
    """The job of an output, lines of all shards, and how many shards have begun.

    Raises:
        BulkError: there is no job, or manifests of two.
    """
    manifests = all_manifests(output)
    ids = {each.job.id for each in manifests}
    if len(ids) > 1:
        raise BulkError(f"expected one job, got {', '.join(sorted(ids))}", code="bulk.manifest")
    lines = {key: line for each in manifests for key, line in each.units.items()}
    return manifests[0].job, lines, len(manifests)


def status(output: Output) -> Status:
    """How far the job of an output is."""
    job, lines, begun = load(output)
    routes: dict[str, int] = {}
    for line in lines.values():
        for model, count in line.routes.items():
            routes[model] = routes.get(model, 0) + count
    missing = missing_units(job, lines)
    return Status(
        job.id, job.endpoint, job.number, (job.shards, begun), len(job.inputs), len(lines),
        sum(line.rows for line in lines.values()), sum(line.errors for line in lines.values()),
        dict(sorted(routes.items())), missing,
        not missing and output.read(SUCCESS) == success(job, lines),
    )  # fmt: skip


def check_parts(output: Output) -> list[str]:
    """What is wrong with the parts of an output; empty when digests and proof hold."""
    job, lines, _ = load(output)
    wrong = []
    for line in lines.values():
        found = output.digest(line.part)
        if found is None:
            wrong.append(f"{line.part}: it is gone")
        elif found != line.sha256:
            wrong.append(f"{line.part}: expected sha256 {line.sha256[:16]}, got {found[:16]}")
    known = {line.part for line in lines.values()}
    wrong += [
        f"{name}: no unit of the job wrote it"
        for name in output.names()
        if name.startswith("part-") and name not in known
    ]
    wrong += missing_units(job, lines)
    proof = output.read(SUCCESS)
    if not wrong and proof != success(job, lines):
        wrong.append(f"{SUCCESS}: {'it is gone' if proof is None else 'it says something else'}")
    return wrong


class Again(Struct, frozen=True, eq=False):
    """What scores the rows of a job again.

    Attributes:
        output: of the job.
        inputs: its files.
        endpoint: its release.
        decide: columnar function at the job's time.
    """

    output: Output
    inputs: Inputs
    endpoint: Endpoint
    decide: Callable[[Job], Decide]

    def differences(self, units: int = SAMPLE_UNITS) -> list[str]:
        """Score some units again and compare the bytes of their parts.

        Args:
            units: how many, drawn by the job's id.

        Returns:
            What differs, in words.

        Raises:
            BulkError: another release, or other input files.
        """
        job, lines, _ = load(self.output)
        endpoint = self.endpoint
        if (endpoint.number, endpoint.digest) != (job.number, job.digest):
            raise BulkError(
                f"the job was answered by release {job.number}, active is {endpoint.number}",
                code="bulk.release",
                hint="digests are checked all the same with --sample 0",
            )
        if self.inputs.names != job.inputs:
            raise BulkError("the input files are not those of the job", code="bulk.inputs")
        drawn = random.Random(job.id).sample(sorted(lines), min(units, len(lines)))  # noqa: S311 - no secret
        wrong = []
        for key in drawn:
            line = lines[key]
            if self.inputs.fingerprint(job.inputs[line.file]) != line.input:
                wrong.append(f"{job.inputs[line.file]}: it changed since")
            elif self._digest(job, line) != line.sha256:
                wrong.append(f"{line.part}: scoring its rows again gives other bytes")
        return wrong

    def _digest(self, job: Job, line: UnitLine) -> str:
        """Hex digest of a unit's part, made again."""
        import pyarrow as pa

        name = job.inputs[line.file]
        kind = format_of(name)
        scorer = Scorer(self.decide(job), job, str)
        with self.inputs.local(name) as path:
            unit = plan_units(path, kind, line.file, job.unit_rows)[line.unit]
            how = Reading(self.endpoint, job.keys, job.batch_rows)
            tables = [scorer(block).result for block in read_blocks(path, kind, [unit], how)]
        draft = self.output.scratch / f"verify-{line.part}"
        write_part(plain_words(pa.concat_tables(tables)), draft, job.output_format)
        try:
            return file_digest(draft).removeprefix("sha256:")
        finally:
            draft.unlink()
