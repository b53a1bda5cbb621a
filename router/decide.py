"""The hot path: one decoded request to one recorded answer, without a task, a lock or a log line.

    decode -> route -> score -> decide -> record -> encode

The record is in the spool before the answer is returned, so nothing that a caller ever sees can
lack its evidence.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from compiler.errors import AppError, Problem
from router.arms import Arm, choose_arm, unknown_rule
from router.desk import Desk
from router.endpoint import DECODING, Endpoint, problems_error
from router.errors import AbandonedError, BodyError, DeadlineError, FeaturesError, ScoringError
from router.explained import explained
from router.explaining import ADVERSE, wish_of
from router.problem import document, status_of, without_values
from router.settled import Settled, Trail, uuid_text
from router.stages import AUDIT, ENCODE, UNTIMED, Stages
from router.turns import TURN_ROWS, Steps, at_once, in_turns
from router.wire.native import Row
from serving.audit.record import SCHEMA_VERSION, AuditRecord, encode_record

if TYPE_CHECKING:
    from router.batches import Batches

RECORDED = frozenset({422, 499, 500, 504})
_json = msgspec.json.Encoder().encode
_perf = time.perf_counter_ns


class Decider:
    """Answers requests of one endpoint on one worker.

    Attributes:
        endpoint: whose.
        meter: its counters.
        batches: decides many rows by columns; None where every row has a record of its own.
    """

    batches: Batches | None = None

    def __init__(self, endpoint: Endpoint, desk: Desk) -> None:
        self.endpoint = endpoint
        self._desk = desk
        policies = endpoint.policies
        self._timeout_us = policies.timeout_ms * 1000
        self._append = desk.append_or_drop if policies.spool_full == "drop_new" else desk.append
        self.meter = desk.meter(endpoint)
        features = endpoint.content.features
        self._protected = tuple(name for name in endpoint.plain.names if features[name].protected)
        self._sensitive = tuple(name for name in endpoint.plain.names if features[name].sensitive)
        self._seal = desk.seal if self._sensitive else None
        self._secret = frozenset(self._protected + self._sensitive)
        self._settle = self._make_settle()
        self._timed = Stages(
            desk.counters, endpoint=endpoint, decode_slow=self._decode_slow, choose=self._choose,
            make_settle=self._make_settle, answer=native_answer,
        ).one  # fmt: skip

    def one(self, row: Row, trail: Trail) -> Settled:
        """The recorded decision on a single row.

        Raises:
            AppError: the request is refused; recorded when it was about this endpoint's features.
        """
        endpoint = self.endpoint
        try:
            if endpoint.suspended:
                return self._suspended(row, trail)
            if not trail[2] & UNTIMED:
                return self._timed(row, trail)
            try:
                f = endpoint.plain.fast(row.features)
                c = endpoint.context.fast(b"{}" if row.context is UNSET else row.context)
            except DECODING:
                f, c = self._decode_slow(row)
            arm = self._choose(f, c, row, trail)
            started = _perf()
            out = None if arm.score is None else arm.score(f)
            return self._settle(row, f, c, arm, out, trail, _perf() - started)
        except AppError as error:
            self.record_error(row, error, trail)
            raise
        except Exception as error:
            raise self._failed(row, error, trail) from error

    def many(self, rows: Sequence[Row], trail: Trail) -> list[Settled]:
        """The recorded decisions on several rows; a row that does not fit refuses them all.

        Raises:
            AppError: as for one row; places are written ``rows[3].income``.
        """
        return at_once(self._many(rows, trail))

    async def many_in_turns(self, rows: Sequence[Row], trail: Trail) -> list[Settled]:
        """The same; other requests have their turn after every :data:`TURN_ROWS`.

        Raises:
            AppError: as :meth:`many`.
        """
        try:
            return await in_turns(self._many(rows, trail))
        except asyncio.CancelledError:
            self.record_error(rows[0], AbandonedError(), trail)
            raise

    def _many(self, rows: Sequence[Row], trail: Trail) -> Steps[list[Settled]]:
        if self.endpoint.suspended:
            return [self._suspended(row, trail) for row in rows]
        decoded = yield from self._decode_all(rows, trail)
        settled: list[Settled] = []
        for row, (f, c) in zip(rows, decoded, strict=True):
            try:
                arm = self._choose(f, c, row, trail)
                started = _perf()
                out = None if arm.score is None else arm.score(f)
                settled.append(self._settle(row, f, c, arm, out, trail, _perf() - started))
            except AppError as error:
                self.record_error(row, error, trail)
                raise
            except Exception as error:
                raise self._failed(row, error, trail) from error
            if not len(settled) % TURN_ROWS:
                yield
        return settled

    def _decode_slow(self, row: Row, at: str = "") -> tuple[Any, Any]:
        """Features and context by the decoder that words problems; what it let pass is counted."""
        f, c, counts = self.endpoint.decode_slow(row, at)
        self.meter.tolerated(counts)
        return f, c

    def _failed(self, row: Row, error: Exception, trail: Trail) -> ScoringError:
        """A mistake of ours or the model's, recorded and logged."""
        failure = ScoringError(f"the model failed: {type(error).__name__}")
        self.record_error(row, failure, trail)
        self._desk.report("scoring failed at %s", self.endpoint.name, error)
        return failure

    def _decode_all(self, rows: Sequence[Row], trail: Trail) -> Steps[list[tuple[Any, Any]]]:
        """Features and context of every row, or every problem of all of them."""
        endpoint = self.endpoint
        decoded: list[tuple[Any, Any]] = []
        problems: list[Problem] = []
        bad: Row | None = None
        for number, row in enumerate(rows):
            if number and not number % TURN_ROWS:
                yield
            try:
                f = endpoint.plain.fast(row.features)
                c = endpoint.context.fast(b"{}" if row.context is UNSET else row.context)
            except DECODING:
                try:
                    f, c = self._decode_slow(row, f"rows[{number}].")
                except FeaturesError as error:
                    problems += error.problems
                    bad = bad or row
                    continue
                except BodyError as error:
                    error.at = error.at or f"rows[{number}]"
                    raise
            decoded.append((f, c))
        if bad is not None:
            failure = problems_error(problems)
            self.record_error(bad, failure, trail)
            raise failure
        return decoded

    def _choose(self, f: Any, c: Any, row: Row, trail: Trail) -> Arm:
        """The arm that the routing table gives this row."""
        endpoint = self.endpoint
        index = endpoint.route(f, c, trail[1] // 1000)
        if index < 0:
            raise unknown_rule(endpoint.rule_ids[-1 - index])
        arm = endpoint.arms[index]
        if arm.__class__ is Arm:
            return arm
        return choose_arm(arm, f, row)  # type: ignore[arg-type]

    def _make_settle(self, stages: Stages | None = None) -> Callable[..., Settled]:
        """The last steps, with everything they need in local variables; timed for ``stages``."""
        endpoint, desk = self.endpoint, self._desk
        name, number, policies = endpoint.name, endpoint.number, endpoint.policies
        decide, decided = endpoint.decide, endpoint.decided
        encode_outputs, rejected = endpoint.encode_outputs, endpoint.rejected
        route_unknowns, decision_unknowns = endpoint.route_unknowns, endpoint.decision_unknowns
        next_id, append, subject_ref = desk.next_id, self._append, desk.subject_ref
        values, meter = desk.counters.values, self.meter
        buckets, bucket_slot, sum_slot = desk.buckets, meter.bucket_slot, meter.sum_slot
        note_unknown, decision_slots = meter.unknown, meter.decision_slots
        slow_us = desk.slow_us
        durability, retention = policies.durability, policies.retention_class
        wish = wish_of(policies)
        with_defaults = bool(endpoint.plain.defaults or endpoint.context.defaults)
        default_timeout_us = self._timeout_us
        undecided = decided[-1]
        as_record: Callable[[AuditRecord], bytes] = encode_record
        if stages is not None:
            encode_outputs = stages.timed(ENCODE, encode_outputs)
            as_record, append = stages.timed(AUDIT, as_record), stages.timed(AUDIT, append)
        protected, sensitive, seal = self._protected, self._sensitive, self._seal

        def settle(  # noqa: PLR0917 - positional calls are the cheap ones
            row: Row, f: Any, c: Any, arm: Arm, out: Any, trail: Trail, infer_ns: int
        ) -> Settled:
            key_id, received_ns, started_ns, traceparent, idempotency = trail
            unknown: tuple[str, ...] = ()
            if route_unknowns is not None:
                unknown = route_unknowns(f, c, received_ns // 1000)
            decision_index = -1
            decision: str | None
            if out is None:
                outputs = b"null"
                decision, decision_rule, adverse = "reject", None, True
                tail = rejected(arm.reason or "")
            else:
                outputs = encode_outputs(out)
                outcome = undecided
                if decide is not None:
                    decision_index = decide(f, c, received_ns // 1000, out)
                    if decision_index < 0:
                        raise unknown_rule(decided[-1 - decision_index].rule or "")
                    outcome = decided[decision_index]
                    if decision_unknowns is not None:
                        unknown += decision_unknowns(f, c, received_ns // 1000, out)
                decision, decision_rule = outcome.decision, outcome.rule
                tail, adverse = outcome.tail, outcome.adverse
            elapsed_us = (_perf() - started_ns) // 1000
            limit_us = default_timeout_us if row.timeout_ms is None else row.timeout_ms * 1000
            if elapsed_us > limit_us:
                raise DeadlineError(f"expected an answer within {limit_us // 1000} ms")
            record_id = next_id(received_ns)
            wished = wish(row.explain, adverse)
            features = bytes(row.features)
            defaults: tuple[str, ...] = ()
            if with_defaults:
                defaults = endpoint.plain.defaults_of(f, features)
                if endpoint.context.defaults:
                    raw = b"{}" if row.context is UNSET else bytes(row.context)
                    defaults += endpoint.context.defaults_of(c, raw)
            if seal is not None:
                features = seal(features, sensitive, record_id)
            append(
                as_record(
                    AuditRecord(
                        SCHEMA_VERSION,
                        record_id,
                        received_ns,
                        received_ns + elapsed_us * 1000,
                        name,
                        number,
                        arm.rule,
                        unknown,
                        arm.model,
                        arm.version,
                        arm.package,
                        key_id,
                        row.id,
                        None if row.subject is None else subject_ref(row.subject),
                        decision,
                        decision_rule,
                        idempotency,
                        None,
                        200,
                        durability,
                        retention,
                        features,
                        None if row.context is UNSET else bytes(row.context),
                        defaults,
                        None if out is None else outputs,
                        None,
                        elapsed_us,
                        wished,
                        traceparent,
                        arm.reason,
                        1,
                        protected,
                        sensitive,
                    )
                )
            )
            if elapsed_us > slow_us:
                desk.slow.append((name, uuid_text(record_id).decode(), elapsed_us))
            values[bucket_slot + bisect_left(buckets, elapsed_us)] += 1
            values[sum_slot] += elapsed_us
            values[arm.slots[decision_index]] += 1
            if decision_index >= 0:
                values[decision_slots[decision_index]] += 1
            if unknown:
                note_unknown(unknown)
            values[arm.infer_slot] += infer_ns
            if row.explain:
                tail = explained(tail, arm, f, adverse=wished == ADVERSE)
            return record_id, arm, out, outputs, decision, decision_rule, tail

        return settle

    def _suspended(self, row: Row, trail: Trail) -> Settled:
        """The declared safe answer of a suspended endpoint."""
        outcome = self._desk.safe_decision(self.endpoint)
        arm = Arm("suspended")
        arm.bind_head(self.endpoint.name, self.endpoint.number)
        record_id = self._desk.next_id(trail[1])
        elapsed_us = (_perf() - trail[2]) // 1000
        record = self._record(row, trail, record_id, elapsed_us, 200)
        record.rule, record.decision = arm.rule, outcome.decision
        self._append(encode_record(record))
        self.meter.count(elapsed_us)
        return record_id, arm, None, b"null", outcome.decision, None, outcome.tail

    def record_error(self, row: Row, error: AppError, trail: Trail) -> None:
        """Keep the evidence of a request that was about this endpoint and got no decision."""
        status = status_of(error)
        if status not in RECORDED:
            return
        elapsed_us = (_perf() - trail[2]) // 1000
        record = self._record(row, trail, self._desk.next_id(trail[1]), elapsed_us, status)
        record.error = _json(without_values(document(error), self._secret))
        self._append(encode_record(record))

    def _record(
        self, row: Row, trail: Trail, record_id: bytes, elapsed_us: int, status: int
    ) -> AuditRecord:
        key_id, received_ns, _, traceparent, idempotency = trail
        policies = self.endpoint.policies
        features = bytes(row.features)
        if self._seal is not None:
            features = self._seal(features, self._sensitive, record_id)
        return AuditRecord(
            SCHEMA_VERSION,
            record_id,
            received_ns,
            received_ns + elapsed_us * 1000,
            self.endpoint.name,
            self.endpoint.number,
            "",
            (),
            None,
            None,
            None,
            key_id,
            row.id,
            None if row.subject is None else self._desk.subject_ref(row.subject),
            None,
            None,
            idempotency,
            None,
            status,
            policies.durability,
            policies.retention_class,
            features,
            None if row.context is UNSET else bytes(row.context),
            (),
            None,
            None,
            elapsed_us,
            0,
            traceparent,
            protected=self._protected,
            sensitive=self._sensitive,
        )


def native_answer(row: Row, settled: Settled) -> bytes:
    """One decision as the native API shows it."""
    record_id, arm, _, outputs, _, _, tail = settled
    asked = b'",' if row.id is None else b'","request_id":' + _json(row.id) + b","
    return b"".join(
        (
            b'{"id":"',
            uuid_text(record_id),
            asked,
            arm.head,
            outputs,
            tail,
        )
    )
