"""A job from its first unit to its proof.

    inputs -> units -> blocks -> scoring threads -> one unit's answers -> commit -> ... -> _SUCCESS

    commit:  draft, forced -> audit part and record in the spool -> draft renamed -> manifest line

Whatever happens between two of these steps, the unit is either done or done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from msgspec import Struct

from router.bulk.blocks import Block, Reading
from router.bulk.errors import BulkError, InputError, TooManyBadError
from router.bulk.evidence import protected_names
from router.bulk.formats import format_of
from router.bulk.job import finish, is_mine, open_job, units_of
from router.bulk.manifest import SUCCESS, Job, UnitLine, encode_line, manifest_name
from router.bulk.pipeline import flow
from router.bulk.places import Inputs, LocalOutput, Output
from router.bulk.reader import read_blocks
from router.bulk.score import Decide, Scored, Scorer
from router.bulk.units import Unit, plan_units
from router.bulk.writer import part_name, write_part
from serving.files import file_digest
from serving.priority import SWITCH_S

if TYPE_CHECKING:
    import pyarrow as pa

    from router.bulk.evidence import Evidence
    from router.endpoint import Endpoint


class Progress(Struct):
    """How far a job is; changes while it runs.

    Attributes:
        rows: answered by this run.
        skipped: answered by an earlier one and still valid.
        errors: of these rows, how many carry one.
        units: written by this run.
        routes: rows per model.
        share: done of all input bytes, 0 to 1.
        started: steady clock, seconds.
    """

    rows: int = 0
    skipped: int = 0
    errors: int = 0
    units: int = 0
    routes: dict[str, int] = {}
    share: float = 0.0
    started: float = 0.0


class Plan(Struct, frozen=True, eq=False):
    """What a run does and with what.

    Attributes:
        wanted: the job; what is on disk goes before it where both exist.
        inputs: files of rows.
        output: where parts go.
        endpoint: pinned.
        decide: its columnar function.
        subject_ref: keyed hash of a subject.
        evidence: makes the evidence of the job; None keeps none.
        check: called between units; raises to stop the job.
        shard: number of this share.
        resume: go on with what is there.
        max_bad: rows with errors that are tolerated; None for any number.
        workers: scoring threads.
        prepare: called in every thread that reads or scores.
    """

    wanted: Job
    inputs: Inputs
    output: Output
    endpoint: Endpoint
    decide: Decide
    subject_ref: Callable[[str], str]
    evidence: Callable[[Job], Evidence] | None = None
    check: Callable[[], None] | None = None
    shard: int = 0
    resume: bool = False
    max_bad: int | None = None
    workers: int = 1
    prepare: Callable[[], None] | None = None


class _File(Struct):
    """What the reader learned about an input file."""

    mark: str
    rows: int


class Run:
    """One run of a job.

    Attributes:
        job: as the manifest's first line has it.
        progress: how far it is.

    Args:
        plan: what to do.
        report: called after every unit.
    """

    def __init__(self, plan: Plan, report: Callable[[Progress], None] | None = None) -> None:
        self._plan = plan
        self._report = report
        self.progress = Progress(started=time.monotonic())
        self.job = plan.wanted
        self._done: dict[tuple[int, int], UnitLine] = {}
        self._files: dict[int, _File] = {}
        self._marks: list[str] = []
        self._name = manifest_name(plan.shard, plan.wanted.shards)
        self._evidence: Evidence | None = None
        self._errors = 0

    def run(self) -> bool:
        """Do what is left of the job; whether all shards are done.

        Raises:
            BulkError: it cannot go on; what is done stays done.
        """
        plan = self._plan
        with self._alone(), self._in_turns():
            self._begin()
            self._note("bulk.resumed" if self._done else "bulk.started")
            try:
                self._work()
            except BaseException as error:
                self._note("bulk.stopped", reason=_reason(error))
                raise
            complete = finish(plan.output)
            self._note("bulk.finished", complete=complete)
        return complete

    def _begin(self) -> None:
        """Open the manifest; forget drafts and torn lines of a killed run."""
        plan = self._plan
        manifest = open_job(plan.output, plan.wanted, plan.shard, resume=plan.resume)
        self.job = manifest.job
        self._done = manifest.units
        for draft in plan.output.scratch.glob(f"{self._mine}*"):
            draft.unlink()
        self._marks = [plan.inputs.listed(name) for name in self.job.inputs]
        self._forget_invalid()
        whole = encode_line(self.job) + b"".join(encode_line(e) for e in self._done.values())
        if len(whole) != manifest.sound or plan.output.read(self._name) != whole:
            plan.output.write(self._name, whole)
        if plan.evidence is not None:
            self._evidence = plan.evidence(self.job)

    @property
    def _mine(self) -> str:
        """Start of the names of this shard's drafts."""
        return f"shard-{self._plan.shard}-"

    @contextlib.contextmanager
    def _in_turns(self) -> Iterator[None]:
        """Short turns between threads: one that comes back from Arrow or a model goes on soon."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            yield
        finally:
            sys.setswitchinterval(before)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One run of a shard at a time on one machine's disk."""
        output = self._plan.output
        if not isinstance(output, LocalOutput):
            yield
            return
        path = output.scratch / f"lock-{self._plan.shard}"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BulkError(
                    "another run of this job is at work", code="bulk.busy", at=str(output.root)
                ) from error
            yield

    def _note(self, what: str, **detail: object) -> None:
        if self._evidence is not None:
            done = self.progress
            self._evidence.event(
                what, rows=done.rows, errors=done.errors, units=done.units,
                shard=f"{self._plan.shard + 1}/{self.job.shards}", **detail,
            )  # fmt: skip

    def _work(self) -> None:
        plan = self._plan
        hidden = protected_names(plan.endpoint)
        scorer = Scorer(plan.decide, self.job, plan.subject_ref, hidden)
        results = flow(self._blocks(), scorer, workers=plan.workers, prepare=plan.prepare)
        parts: list[Scored] = []
        with closing(results):
            for scored in results:
                parts.append(scored)
                if scored.last:
                    if plan.check is not None:
                        plan.check()
                    self._commit(parts)
                    parts = []

    def _forget_invalid(self) -> None:
        """Keep the units whose input and part are as they were; take the other parts away."""
        output = self._plan.output
        for key, line in list(self._done.items()):
            if line.input == self._marks[line.file] and output.digest(line.part) == line.sha256:
                self.progress.skipped += line.rows
            else:
                del self._done[key]
                output.remove(line.part)
        self._errors = sum(line.errors for line in self._done.values())
        if self._done:
            output.remove(SUCCESS)  # written again at the end, when it holds

    def _blocks(self) -> Iterator[Block]:
        """Blocks of every unit that is still to be done; runs in the reader thread."""
        how = Reading(self._plan.endpoint, self.job.keys, self.job.batch_rows)
        done = frozenset(self._done)
        for file, name in enumerate(self.job.inputs):
            if self._is_whole(file, done):
                continue
            with self._plan.inputs.local(name) as path:
                kind = format_of(name)
                units = plan_units(path, kind, file, self.job.unit_rows)
                self._files[file] = _File(self._marks[file], sum(unit.rows for unit in units))
                mine = [unit for unit in units if self._is_mine(file, unit.number)]
                todo = [unit for unit in mine if (file, unit.number) not in done]
                if todo:
                    yield from read_blocks(path, kind, todo, how)
            if self._plan.inputs.fingerprint(name) != self._marks[file]:
                raise InputError(
                    f"{name} changed while it was read",
                    code="bulk.changed",
                    hint="let it be, and run the same line with --resume",
                )

    def _is_mine(self, file: int, unit: int) -> bool:
        return is_mine(file, unit, self._plan.shard, self.job.shards)

    def _is_whole(self, file: int, done: frozenset[tuple[int, int]]) -> bool:
        """Whether nothing of a file is left for this shard."""
        known = next((key for key in done if key[0] == file), None)
        if known is None:
            return False
        units = units_of(self._done[known].file_rows, self.job.unit_rows)
        return all((file, n) in done for n in range(units) if self._is_mine(file, n))

    def _commit(self, parts: list[Scored]) -> None:
        """Make one unit's answers visible, its evidence first."""
        import pyarrow as pa

        unit = parts[0].unit
        errors = sum(each.errors for each in parts)
        self._tolerate(unit, errors)
        routes: dict[str, int] = {}
        for each in parts:
            for model, count in each.routes.items():
                routes[model] = routes.get(model, 0) + count
        output = self._plan.output
        name = part_name(unit.file, unit.number, self.job.output_format)
        draft = output.scratch / f"{self._mine}{name}"
        table = pa.concat_tables([each.result for each in parts])
        write_part(plain_words(table), draft, self.job.output_format)
        try:
            digest = file_digest(draft).removeprefix("sha256:")
            size = draft.stat().st_size
            evidence = self._keep_evidence(parts)
            output.keep(draft, name)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        found = self._files[unit.file]
        line = UnitLine(
            unit.file, unit.number, unit.first_row, unit.rows, found.rows, found.mark, name, size,
            digest, errors, dict(sorted(routes.items())), evidence,
        )  # fmt: skip
        output.append(self._name, line)
        self._count(unit, errors, routes)

    def _keep_evidence(self, parts: list[Scored]) -> str:
        import pyarrow as pa

        if self._evidence is None:
            return ""
        tables = [each.evidence for each in parts if each.evidence.num_rows]
        if not tables:
            return ""
        rows = pa.concat_tables(tables, promote_options="permissive")
        return self._evidence.keep(rows, (parts[0].received_ns, parts[-1].decided_ns))

    def _tolerate(self, unit: Unit, errors: int) -> None:
        limit = self._plan.max_bad
        total = self.progress.errors + errors + self._errors
        if limit is not None and total > limit:
            raise TooManyBadError(
                f"{total} rows carry errors, expected at most {limit}",
                at=f"{self.job.inputs[unit.file]}, rows from {unit.first_row}",
                hint="look at the error column of the parts so far; go on with --resume and "
                "another --max-bad",
            )

    def _count(self, unit: Unit, errors: int, routes: dict[str, int]) -> None:
        done = self.progress
        done.rows += unit.rows
        done.errors += errors
        done.units += 1
        for model, count in routes.items():
            done.routes[model] = done.routes.get(model, 0) + count
        rows = max(1, self._files[unit.file].rows)
        inside = (unit.first_row + unit.rows) / rows
        done.share = (unit.file + min(1.0, inside)) / len(self.job.inputs)
        if self._report is not None:
            self._report(done)


def _reason(error: BaseException) -> str:
    """Why a run ended, in one line."""
    code = getattr(error, "code", type(error).__name__)
    return f"{code}: {' '.join(str(getattr(error, 'message', error)).split())}"


def plain_words(table: pa.Table) -> pa.Table:
    """A table without dictionaries: how rows were cut must not show in the bytes of a part."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, column)
    return table.replace_schema_metadata(None)
