"""One table from error to status; documents of one shape."""

from typing import Any

import msgspec
import pytest

from compiler.errors import AppError, Problem
from router import errors
from router.problem import STATUS, reply, status_of


def subclasses(kind: type) -> set[type]:
    return {kind, *(leaf for each in kind.__subclasses__() for leaf in subclasses(each))}


@pytest.mark.parametrize("kind", sorted(subclasses(errors.RequestError), key=lambda k: k.__name__))
def test_every_refusal_has_a_status_of_its_own(kind: type[AppError]) -> None:
    assert kind in STATUS
    assert 400 <= status_of(kind("x")) < 600


def test_errors_of_other_rooms_are_never_the_callers_fault_by_accident() -> None:
    known = {kind for kind in subclasses(AppError) if kind.__module__.startswith("serving")}
    assert all(status_of(kind.__new__(kind)) in {413, 500, 503, 504} for kind in known)


def document(error: AppError, **fields: Any) -> dict[str, Any]:
    return msgspec.json.decode(reply(error, **fields).body)


def test_document_has_the_promised_members() -> None:
    problems = [Problem("features.type", "expected a number, got text", "features.a", "", "a", "b")]
    found = document(errors.FeaturesError(problems))
    assert found["type"] == "urn:interlock:problem:features.type"
    assert (found["status"], found["code"]) == (422, "features.type")
    assert found["errors"][0]["at"] == "features.a"
    assert (found["errors"][0]["expected"], found["errors"][0]["got"]) == ("a", "b")


def test_open_protocol_knows_one_text_only() -> None:
    found = document(errors.NotFoundError("nothing here", at="x"), v2=True)
    assert list(found) == ["error"]


def test_busy_and_unknown_tell_clients_what_to_do() -> None:
    assert dict(reply(errors.ShedError("x")).headers)[b"retry-after"] == b"1"
    assert dict(reply(errors.QuotaError("x", retry_after_s=7)).headers)[b"retry-after"] == b"7"
    assert dict(reply(errors.KeyMissingError("x")).headers)[b"www-authenticate"] == b"Bearer"
