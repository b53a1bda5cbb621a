"""Is the evidence what was recorded? Every deviation is named; nothing is repaired.

The checks are pure: they work on batches, rows and chain links from wherever these come, the
database or an export.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Literal

import msgspec
from msgspec import Struct

from compiler.signing import SignatureError, verify
from serving.audit import merkle
from serving.audit.chain import CHECKPOINT_TYPE, Batch, Checkpoint, next_head

HASH_BYTES = 32
What = Literal["changed", "missing", "added", "reordered", "batch", "chain", "checkpoint"]


class Finding(Struct, frozen=True):
    """One deviation.

    Attributes:
        what: kind of deviation.
        at: what it is about: ``record 0192...``, ``batch 12 leaf 5``, ``position 9``.
        detail: expected and found.
    """

    what: What
    at: str
    detail: str


class Report(Struct):
    """Outcome of a verification.

    Attributes:
        rows: rows whose hash was recomputed.
        batches: batches whose root was recomputed.
        links: places of the chain that were recomputed.
        signed: highest position under a checkpoint whose signature was checked.
        unsigned: places behind it.
        pending: batches that have no place in the chain yet.
        disposed: batches whose rows retention has disposed of.
        findings: every deviation.
    """

    rows: int = 0
    batches: int = 0
    links: int = 0
    signed: int = 0
    unsigned: int = 0
    pending: int = 0
    disposed: int = 0
    findings: list[Finding] = []

    @property
    def intact(self) -> bool:
        """Whether nothing deviates."""
        return not self.findings


class SealedBatch(Struct, frozen=True):
    """A batch with its leaf hashes.

    Attributes:
        id, kind, retention_class, day, leaves, root: as in the chain.
        leaf_hashes: all leaf hashes in order, 32 bytes each.
    """

    id: int
    kind: str
    retention_class: str
    day: date
    leaves: int
    root: bytes
    leaf_hashes: bytes

    def header(self) -> Batch:
        """What the chain commits to."""
        return Batch(self.id, self.kind, self.retention_class, self.day, self.leaves, self.root)

    def hashes(self) -> list[bytes]:
        """Leaf hashes one by one."""
        data = self.leaf_hashes
        return [data[k : k + HASH_BYTES] for k in range(0, len(data), HASH_BYTES)]


class Leaf(Struct, frozen=True):
    """A row as it is found: its place, its name for people, its recomputed hash."""

    leaf: int
    name: str
    hash: bytes


class Link(Struct, frozen=True):
    """A place in the chain."""

    position: int
    batch: Batch
    previous: bytes
    head: bytes


def check_batch(
    batch: SealedBatch, rows: Iterable[Leaf], expected: Sequence[int] | None = None
) -> list[Finding]:
    """Compare the rows of a batch with what the batch commits to.

    Args:
        batch: with its leaf hashes.
        rows: the rows that claim to be in it.
        expected: places that must be there, for a selection; None means all.
    """
    findings = []
    hashes = batch.hashes()
    where = f"batch {batch.id}"
    if len(hashes) != batch.leaves or merkle.root(hashes) != batch.root:
        findings.append(
            Finding("batch", where, "its leaf hashes do not lead to the root in the chain")
        )
    places: dict[bytes, int] = {}
    for place, each in enumerate(hashes):
        places.setdefault(each, place)
    seen: Counter[int] = Counter()
    for row in rows:
        seen[row.leaf] += 1
        if not 0 <= row.leaf < len(hashes):
            findings.append(
                Finding("added", row.name, f"{where} has {len(hashes)} rows, this says {row.leaf}")
            )
        elif seen[row.leaf] > 1:
            findings.append(Finding("added", row.name, f"{where} already has a row at {row.leaf}"))
        elif hashes[row.leaf] != row.hash:
            other = places.get(row.hash)
            findings.append(
                Finding("changed", row.name, f"{where} leaf {row.leaf}: the content differs")
                if other is None
                else Finding("reordered", row.name, f"{where}: recorded at {other}, not {row.leaf}")
            )
    wanted = range(len(hashes)) if expected is None else expected
    findings.extend(
        Finding("missing", f"{where} leaf {place}", f"a row of {batch.kind} is gone")
        for place in wanted
        if not seen[place]
    )
    return findings


def check_links(links: Iterable[Link], first: bytes, report: Report) -> dict[int, bytes]:
    """Recompute the chain from ``first``; returns the recomputed head by position."""
    heads: dict[int, bytes] = {}
    previous = first
    position = -1
    for link in links:
        where = f"position {link.position}"
        if position >= 0 and link.position != position + 1:
            detail = f"expected position {position + 1}"
            report.findings.append(Finding("chain", where, detail))
        if link.previous != previous:
            report.findings.append(
                Finding("chain", where, f"does not continue position {link.position - 1}")
            )
        head = next_head(link.previous, link.position, link.batch)
        if head != link.head:
            report.findings.append(
                Finding("chain", where, f"batch {link.batch.id} is not what was chained here")
            )
        heads[link.position] = link.head
        previous, position = link.head, link.position
        report.links += 1
    return heads


def check_checkpoints(
    envelopes: Iterable[bytes],
    heads: Mapping[int, bytes],
    keys: Mapping[str, bytes],
    report: Report,
    *,
    whole: bool,
) -> None:
    """Check signed heads against the recomputed ones.

    Args:
        envelopes: DSSE envelopes.
        heads: recomputed heads by position.
        keys: trusted public keys by key id.
        report: gets the findings and what is signed.
        whole: ``heads`` is the whole chain, so that a signed place outside it was cut off.
    """
    for envelope in envelopes:
        try:
            statement = msgspec.json.decode(
                verify(envelope, keys, CHECKPOINT_TYPE), type=Checkpoint
            )
        except (SignatureError, msgspec.MsgspecError) as error:
            report.findings.append(Finding("checkpoint", "signature", str(error).split("\n")[0]))
            continue
        head = heads.get(statement.position)
        if head is None:
            if whole:
                detail = "a signed place of the chain is gone"
                at = f"position {statement.position}"
                report.findings.append(Finding("chain", at, detail))
            continue
        if head.hex() != statement.head:
            detail = f"signed {statement.head[:16]}, found {head.hex()[:16]}"
            report.findings.append(Finding("checkpoint", f"position {statement.position}", detail))
        report.signed = max(report.signed, statement.position)
    report.unsigned = max(heads, default=0) - report.signed if heads else 0
