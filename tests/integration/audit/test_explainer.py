"""The explainer process on a real PostgreSQL and real packages."""

from __future__ import annotations

import msgspec
import pytest

from serving.audit import merkle
from serving.audit.link import Link
from serving.audit.row import EXPLANATION_COLUMNS, leaf_bytes, stored_values
from serving.explain.process import ExplainerProcess
from serving.settings import ExplainerSettings
from tests.builders import PROTECTED, applicant, signed_package
from tests.spool import drain, fetch

EXPLANATIONS = f"SELECT {', '.join(EXPLANATION_COLUMNS)}, batch FROM audit_explanations"


@pytest.fixture
def package(tmp_path):
    return signed_package(tmp_path)


@pytest.fixture
def explainer(package, role_url, tmp_path):
    return ExplainerSettings(role_url("interlock_explainer"), str(tmp_path), poll_ms=1)


async def explain_all(settings, *, chunks=100):
    process = ExplainerProcess(settings)
    done = 0
    while done < chunks and await process.chunk():
        done += 1
    process.stop()
    await process.run()
    return process.explained


def asked(source, writer, package, indices, **changes):
    for index in indices:
        features = {k: v for k, v in applicant(index).items() if v is not None}
        source.append(
            writer,
            package_digest=package.digest,
            features=msgspec.json.encode(features),
            protected=PROTECTED,
            explain=1,
            decision="decline",
            **changes,
        )


async def test_wanted_records_are_explained_once_with_ordered_reasons(
    source, settings, explainer, package, database_url
):
    writer = source.writer()
    source.append(writer, 3)  # not wanted
    asked(source, writer, package, range(5))
    await drain(settings)
    assert await explain_all(explainer) == 5
    assert await explain_all(explainer) == 0
    rows = await fetch(database_url, EXPLANATIONS)
    assert {row["id"].bytes for row in rows} == set(source.acknowledged[3:])
    for row in rows:
        phi = msgspec.json.decode(row["phi"])
        assert (row["state"], row["method"]) == ("ok", "linear")
        assert row["residual"] < 1e-3
        against = sorted(v for v in phi.values() if v < -1e-6)
        assert 1 <= len(row["reasons"]) <= 4
        assert f"by {abs(against[0]):.3f}" in row["reasons"][0]
    writer.close()


async def test_explanations_stand_in_the_chain(source, settings, explainer, package, database_url):
    writer = source.writer()
    asked(source, writer, package, range(3))
    await drain(settings)
    await explain_all(explainer)
    await drain(settings)
    chained = await fetch(
        database_url,
        "SELECT b.kind, b.root, b.id FROM audit_chain c JOIN audit_batches b ON b.id = c.batch"
        " WHERE b.kind = 'explanations'",
    )
    assert len(chained) == 1
    link = Link(database_url, "test")
    rows = await link.use(lambda c: c.fetch(EXPLANATIONS + " ORDER BY leaf"))
    await link.close()
    leaves = [
        merkle.leaf_hash(leaf_bytes(stored_values("explanations", list(row)[:-1]))) for row in rows
    ]
    assert merkle.root(leaves) == chained[0]["root"]
    writer.close()


async def test_chunks_continue_where_the_last_one_ended(
    source, settings, explainer, package, database_url
):
    writer = source.writer()
    asked(source, writer, package, range(7))
    await drain(settings)
    small = msgspec.structs.replace(explainer, batch_rows=3)
    assert await explain_all(small, chunks=1) == 3
    assert await explain_all(small) == 4
    rows = await fetch(database_url, "SELECT id FROM audit_explanations")
    assert sorted(row["id"].bytes for row in rows) == sorted(source.acknowledged)
    writer.close()


async def test_unknown_package_is_a_recorded_failure_and_does_not_block(
    source, settings, explainer, package, database_url
):
    writer = source.writer()
    source.append(writer, explain=1)  # a digest nobody has
    asked(source, writer, package, [0])
    await drain(settings)
    assert await explain_all(explainer) == 2
    rows = await fetch(database_url, "SELECT state, detail FROM audit_explanations ORDER BY leaf")
    assert [row["state"] for row in rows] == ["failed", "ok"]
    assert "not in the store" in rows[0]["detail"]
    writer.close()


async def test_decision_without_a_model_is_explained_by_its_rule(
    source, settings, explainer, package, database_url
):
    writer = source.writer()
    source.append(
        writer, package_digest=None, model=None, version=None, decision="reject", explain=1,
        rule="too_young", reason="applicant below legal age",
    )  # fmt: skip
    await drain(settings)
    await explain_all(explainer)
    row = (await fetch(database_url, "SELECT * FROM audit_explanations"))[0]
    assert (row["method"], row["reasons"]) == ("rule", ["applicant below legal age"])
    writer.close()
