"""What every endpoint of a worker shares: the spool, ids, counters, the subject hash, the log."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from router.arms import Arm
from router.errors import ShedError
from router.metrics.slots import Counters, series
from serving.audit.record import EventRecord, encode_record, uuid7_source
from serving.audit.room import SpoolFull
from serving.audit.segment import SegmentWriter

if TYPE_CHECKING:
    from router.endpoint import Decided, Endpoint
    from router.subject import SubjectHasher
    from serving.audit.seal import NodeSealer

_log = logging.getLogger(__name__)

BUCKETS_US = (
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
)
"""Upper ends of the latency histogram, microseconds; one more slot holds everything above."""

MAX_SLOW = 20
"""Slow requests that are named between two looks."""
MAX_TOLERATED = 64
"""Different names of tolerated features that are counted apart, per endpoint."""
WRONG_TYPE = "features.type:"
"""Mark of the slow decoder's counters at a feature of a wrong type."""
MAX_RULES = 256
"""Rules whose UNKNOWN answers and wrong-typed inputs are counted apart, per release."""

_json = msgspec.json.encode


def away(endpoint: str) -> ShedError:
    """The error of an endpoint that gives no decisions now."""
    return ShedError(
        f"endpoint {endpoint!r} is suspended",
        code="endpoint.suspended",
        at=endpoint,
        hint="its owner has to resume it",
    )


def tail_of(
    decision: str | None, rule: str | None, durability: str, reason: str | None = None
) -> bytes:
    """The end of an answer, from the decision on."""
    why = b"" if reason is None else b',"reason":' + _json(reason)
    return b',"decision":%b,"decision_rule":%b%b,"durability":%b}' % (
        _json(decision),
        _json(rule),
        why,
        _json(durability),
    )


class Meter:
    """Counter slots of one endpoint.

    Attributes:
        bucket_slot: first slot of the latency histogram.
        sum_slot: microseconds of all answers.
        decision_slots: one per leaf of the decision table.
    """

    def __init__(self, counters: Counters, endpoint: Endpoint) -> None:
        self._counters = counters
        self._name = endpoint.name
        self._release = endpoint.number
        self._readers = endpoint.readers
        self._tolerated: set[str] = set()
        self._of_rules: dict[tuple[str, str], int] = {}
        ends = [str(end / 1e6) for end in BUCKETS_US] + ["+Inf"]
        labels = {"endpoint": endpoint.name, "release": endpoint.number}
        duration = "interlock_request_duration_seconds"
        self.bucket_slot = counters.block(
            [series(f"{duration}_bucket", **labels, le=end) for end in ends]
        )
        self.sum_slot = counters.slot(series(f"{duration}_sum", **labels))
        self.decision_slots = [
            counters.slot(series("interlock_decision_rules_total", **labels, rule=each.rule))
            for each in endpoint.decided[:-1]
        ]
        for arm in endpoint.arms:
            for each in (arm,) if isinstance(arm, Arm) else arm.arms:
                self._bind(each, endpoint)

    def _bind(self, arm: Arm, endpoint: Endpoint) -> None:
        labels = {
            "endpoint": endpoint.name,
            "release": endpoint.number,
            "rule": arm.rule,
            "model": arm.model or "",
            "version": arm.version or "",
        }
        if arm.name:
            labels["variant"] = arm.name
        words = [each.decision or "" for each in endpoint.decided[:-1]]
        if arm.model is None:
            words = ["reject"] * len(words)
        words.append("" if arm.model is not None else "reject")
        name = "interlock_route_decisions_total"
        arm.slots = [self._counters.slot(series(name, **labels, decision=word)) for word in words]
        arm.infer_slot = self._counters.slot(
            series(
                "interlock_infer_duration_seconds_total",
                endpoint=endpoint.name,
                release=endpoint.number,
                model=arm.model or "",
                version=arm.version or "",
            )
        )

    def count(self, elapsed_us: int, rows: int = 1) -> None:
        """Count answers off the hot path."""
        bucket = sum(elapsed_us > end for end in BUCKETS_US)
        self._counters.values[self.bucket_slot + bucket] += rows
        self._counters.values[self.sum_slot] += elapsed_us * rows

    def unknown(self, rules: tuple[str, ...]) -> None:
        """Count rules that were UNKNOWN before the deciding one."""
        for rule in rules:
            self._count_rule("interlock_rule_unknown_total", rule)

    def _count_rule(self, name: str, rule: str) -> None:
        """Count at a rule; beyond :data:`MAX_RULES` they share the label ``other``."""
        slot = self._of_rules.get((name, rule))
        if slot is None:
            label = rule if len(self._of_rules) < MAX_RULES else "other"
            slot = self._counters.slot(
                series(name, endpoint=self._name, release=self._release, rule=label)
            )
            if label == rule:
                self._of_rules[name, rule] = slot
        self._counters.values[slot] += 1

    def tolerated(self, counts: Mapping[str, int]) -> None:
        """Count what the slow decoder let pass, by name; a wrong type also at its rules."""
        for name, count in counts.items():
            for rule in self._readers.get(name.replace(WRONG_TYPE, "", 1), ()):
                self._count_rule("interlock_rule_type_errors_total", rule)
            if name not in self._tolerated:  # names come from outside: keep their number bounded
                if len(self._tolerated) >= MAX_TOLERATED:
                    name = "other"  # noqa: PLW2901 - the label, not the loop
                self._tolerated.add(name)
            self._counters.add(
                series("interlock_features_tolerated_total", endpoint=self._name, name=name), count
            )


class Desk:
    """Shared services of one worker process.

    Attributes:
        node: name of the node.
        worker: number of this worker within it.
        spool: the audit segment writer.
        append: keep one encoded record; raises when there is no room.
        counters: this worker's slots.
        next_id: UUIDv7 of a time in ns.
        subject_ref: keyed hash of a subject.
        seal: seals the sensitive values of a record; None without a key to seal with.
        buckets: upper ends of the latency histogram, microseconds.
        events: linked events kept so far.
        slow_us: requests slower than this are named in the log.
        slow: those since the last look.
    """

    def __init__(
        self,
        node: str,
        worker: int,
        spool: SegmentWriter,
        counters: Counters,
        hasher: SubjectHasher,
        *,
        slow_ms: int = 250,
        sealer: NodeSealer | None = None,
    ) -> None:
        self.node = node
        self.worker = worker
        self.spool = spool
        self.append: Callable[[bytes], int] = spool.append
        self.counters = counters
        self.next_id = uuid7_source(worker)
        self.subject_ref = hasher.ref
        self.subject_key_id = hasher.key_id
        self.seal = None if sealer is None else sealer.seal
        self.buckets = BUCKETS_US
        self.events = 0
        self.slow_us = slow_ms * 1000
        self.slow: deque[tuple[str, str, int]] = deque(maxlen=MAX_SLOW)

    def meter(self, endpoint: Endpoint) -> Meter:
        """Counter slots of an endpoint."""
        return Meter(self.counters, endpoint)

    def event(self, record: EventRecord) -> int:
        """Keep a linked event."""
        number = self.spool.append_event(encode_record(record))
        self.events += 1
        return number

    def note_answers(self) -> None:
        """Tell the spool how many records were answered: all but events and dropped ones.

        Called between requests. A killed worker leaves the number of a moment before, never more
        than it had answered.
        """
        answered = self.spool.last_seq - self.events - self.spool.dropped
        if answered > self.spool.answered:
            self.spool.answered = answered - 1
            self.spool.count_answer()

    def safe_decision(self, endpoint: Endpoint) -> Decided:
        """The declared answer of a suspended endpoint.

        Raises:
            ShedError: none is declared.
        """
        from router.endpoint import Decided

        word = endpoint.policies.safe_decision
        if word is None:
            raise away(endpoint.name)
        tail = tail_of(word, None, endpoint.policies.durability)
        return Decided(word, None, tail, adverse=True)

    def append_or_drop(self, payload: bytes) -> int:
        """Policy ``drop_new``: a record that finds no room is given up and counted."""
        try:
            return self.append(payload)
        except SpoolFull:
            self.counters.add("interlock_audit_records_dropped_total")
            return self.spool.drop()

    def log_slow(self) -> None:
        """Name the requests that were slow since the last call; at most a handful."""
        while self.slow:
            endpoint, record_id, elapsed_us = self.slow.popleft()
            self.counters.add("interlock_slow_requests_total")
            _log.warning("slow: %s %s took %.1f ms", endpoint, record_id, elapsed_us / 1000)

    def report(self, message: str, *arguments: object) -> None:
        """Log a failure of ours; the exception comes last."""
        *words, error = arguments
        _log.error(message, *words, exc_info=error if isinstance(error, BaseException) else None)
