"""The roster: roles, revocation, roll-back and expiry."""

from datetime import UTC, datetime

import pytest

from compiler.identity import (
    RoleError,
    Roster,
    RosterError,
    RosterExpiredError,
    RosterKey,
    Trust,
    enrol,
    revoke,
    roster_key,
    sign_roster,
)
from compiler.signing import KeyPair, SignatureError, b64, sign
from compiler.statements import (
    MODEL_APPROVAL,
    PACKAGE,
    ModelApproval,
    PackageStatement,
    StatementError,
    decode_statement,
    encode_statement,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EXPIRES = "2027-01-01T00:00:00Z"
ROOT, BUILDER, APPROVER = (KeyPair(bytes([n]) * 32) for n in (1, 2, 3))
STATEMENT = encode_statement(PackageStatement("sha256:" + "0" * 64, "m", 1))


def roster() -> Roster:
    return Roster(
        3,
        EXPIRES,
        (
            roster_key(BUILDER.public, "worker", "builder"),
            roster_key(APPROVER.public, "mia@bank.example", "approver", "releaser"),
        ),
    )


def trust(**options) -> Trust:
    return Trust.from_roster(sign_roster(roster(), ROOT), ROOT.public, now=NOW, **options)


def test_signature_in_the_right_role_names_the_person():
    envelope = sign(PACKAGE, STATEMENT, BUILDER)
    assert trust().verify(envelope, PACKAGE, "builder") == (STATEMENT, "worker")


def test_signature_in_another_role_is_refused():
    with pytest.raises(RoleError, match=r"expected a builder.s signature, got mia@bank\.example"):
        trust().verify(sign(PACKAGE, STATEMENT, APPROVER), PACKAGE, "builder")


def test_roster_signed_by_another_root_is_refused():
    envelope = sign_roster(roster(), KeyPair.generate())
    with pytest.raises(RosterError, match="not signed by the trusted root"):
        Trust.from_roster(envelope, ROOT.public, now=NOW)


def test_older_roster_than_one_seen_is_refused():
    with pytest.raises(RosterError, match="expected roster version 4 or later, got 3"):
        trust(min_version=4)
    assert trust(min_version=3).version == 3


def test_expired_roster_is_refused_unless_asked_for():
    envelope = sign_roster(roster(), ROOT)
    late = datetime(2027, 1, 1, tzinfo=UTC)
    with pytest.raises(RosterExpiredError, match=EXPIRES):
        Trust.from_roster(envelope, ROOT.public, now=late)
    kept = Trust.from_roster(envelope, ROOT.public, now=late, allow_expired=True)
    assert kept.expires == late


def test_revoked_key_is_refused_by_name_and_the_version_grows():
    after = revoke(roster(), BUILDER.id, "2026-02-01T00:00:00Z")
    assert after.version == 4
    later = Trust.from_roster(sign_roster(after, ROOT), ROOT.public, now=NOW)
    with pytest.raises(SignatureError, match="of worker was revoked at 2026-02-01") as caught:
        later.verify(sign(PACKAGE, STATEMENT, BUILDER), PACKAGE, "builder")
    assert caught.value.code == "signature.revoked"


def test_revoking_a_person_revokes_all_their_keys():
    second = KeyPair.generate()
    wider = enrol(roster(), roster_key(second.public, "mia@bank.example", "approver"))
    after = revoke(wider, "mia@bank.example", "2026-02-01T00:00:00Z")
    assert [key.revoked_at is not None for key in after.keys] == [False, True, True]


def test_revoking_nobody_is_refused():
    with pytest.raises(RosterError, match="no unrevoked key or person 'x'"):
        revoke(roster(), "x", "2026-02-01T00:00:00Z")


def test_key_enrolled_twice_is_refused():
    with pytest.raises(RosterError, match="already enrolled"):
        enrol(roster(), roster_key(BUILDER.public, "other", "approver"))


def test_entry_whose_id_is_not_its_keys_is_refused():
    entry = RosterKey(BUILDER.id, b64(APPROVER.public), "x", ("builder",))
    envelope = sign_roster(Roster(1, EXPIRES, (entry,)), ROOT)
    with pytest.raises(RosterError, match="do not fit"):
        Trust.from_roster(envelope, ROOT.public, now=NOW)


def test_approval_with_a_time_without_zone_is_refused():
    payload = encode_statement(
        ModelApproval("p", "m", 1, (), "one manager", "a@b", "2026-01-01T00:00:00Z", EXPIRES)
    ).replace(EXPIRES.encode(), b"2027-01-01T00:00:00")
    with pytest.raises(StatementError, match="zone"):
        decode_statement(payload, ModelApproval)


def test_statement_with_an_unknown_field_is_refused():
    with pytest.raises(StatementError, match="more"):
        decode_statement(STATEMENT[:-1] + b',"more":1}', PackageStatement)


def test_statement_type_is_part_of_the_signature():
    envelope = sign(MODEL_APPROVAL, STATEMENT, BUILDER)
    with pytest.raises(SignatureError):
        trust().verify(envelope, PACKAGE, "builder")
