"""Passwords, cursors, e-mails, problem statuses, named SQL, the root key."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import control_plane
from compiler.errors import AppError
from compiler.signing import KeyPair, b64
from control_plane import problem
from control_plane.db import sql
from control_plane.db.migrate import MigrationError, bundled, parse
from control_plane.endpoints.drafts import parse_revision
from control_plane.errors import InvalidError, PreconditionError, SetupError
from control_plane.identity.passwords import (
    PasswordError,
    check_password,
    hash_password,
    verify_password,
)
from control_plane.identity.roster import read_root_key
from control_plane.identity.service import clean_email
from control_plane.paging import read_cursor, write_cursor

INSIDE_JOBS = ("control_plane.jobs.", "control_plane.training.")
"""Errors of these end a job and are stored with it; they never reach HTTP."""


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_refusal_of_the_control_plane_has_a_status_of_its_kind():
    for module in pkgutil.walk_packages(control_plane.__path__, "control_plane."):
        importlib.import_module(module.name)
    ours = [kind for kind in subclasses(AppError) if kind.__module__.startswith("control_plane")]
    assert len(ours) > 15
    bare = {
        kind.__name__
        for kind in ours
        if next(parent for parent in kind.__mro__ if parent in problem.STATUS) is AppError
        and not kind.__module__.startswith(INSIDE_JOBS)
    }
    assert bare == set()


@pytest.mark.parametrize(
    "password",
    ["short", "aaaaaaaaaaaaaaaa", "passwordpassword", "mia.smith123456", "abababababababab"],
)
def test_passwords_that_are_easy_to_guess_are_refused(password):
    with pytest.raises(PasswordError):
        check_password(password, "mia.smith@bank.example", 12)


async def test_a_password_is_kept_as_a_costly_hash_that_only_it_fits():
    stored = await hash_password("the cat sat on 3 mats")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await verify_password("the cat sat on 3 mats", stored)
    assert not await verify_password("the cat sat on 4 mats", stored)
    assert not await verify_password("nobody has this password", None)


def test_a_sentence_is_a_password():
    check_password("the cat sat on 3 mats", "mia@bank.example", 12)


NO_EMAILS = ("", "x", "@x.y", "a@", "a@b", "a b@x.y", "a@x.y@z.w", "+@x.y", "ö@x.y", "a@x.y\n<")


@pytest.mark.parametrize("text", [*NO_EMAILS, "a;b@x.y"])
def test_what_is_no_email_is_refused(text):
    with pytest.raises(InvalidError):
        clean_email(text)


def test_one_email_has_one_form():
    assert clean_email("  Mia@Bank.Example ") == "mia@bank.example"


def test_a_cursor_gives_back_its_key_and_nothing_else_does():
    assert read_cursor(write_cursor("credit", 3), str, int) == ("credit", 3)
    for text in ("", "!!", "bm9uc2Vuc2U", write_cursor(3), write_cursor("a", 1, 2)):
        with pytest.raises(InvalidError):
            read_cursor(text, str, int)


@pytest.mark.parametrize("text", [None, "", "*", '"x"', '"-1"', '"1" , "2"', '"' + "9" * 30 + '"'])
def test_a_change_has_to_name_the_revision_it_changes(text):
    with pytest.raises(PreconditionError):
        parse_revision(text)


def test_an_etag_names_a_revision():
    assert (parse_revision('"7"'), parse_revision('W/"7"'), parse_revision("7")) == (7, 7, 7)


def test_a_root_key_is_text_or_a_file_with_it(tmp_path):
    pair = KeyPair.generate()
    (tmp_path / "root.pub").write_text(b64(pair.public) + "\n")
    pair.save(tmp_path / "root.key")
    for text in (b64(pair.public), str(tmp_path / "root.pub"), str(tmp_path / "root.key")):
        assert read_root_key(text) == pair.public
    for text in ("", "abc", str(tmp_path / "none"), b64(b"short")):
        with pytest.raises(SetupError):
            read_root_key(text)


def test_every_topic_names_its_statements_once():
    for topic in ("identity", "registry", "approvals", "endpoints", "keys", "nodes"):
        assert sql.load(f"control_plane.{topic}")
    with pytest.raises(ValueError, match="two queries"):
        sql.parse("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;")


def test_migrations_are_numbered_without_gaps_or_twins():
    numbers = [migration.number for migration in bundled()]
    assert numbers == list(range(1, len(numbers) + 1))
    with pytest.raises(MigrationError, match="one migration 0001"):
        parse([("0001_a.sql", ""), ("0001_b.sql", "")])
