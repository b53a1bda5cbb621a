"""Keys: who is let in, to what."""

import pytest

from compiler.errors import AppError
from router.keys import KeyTable, key_row

TEXT = "ilk_" + "k" * 40


def find(table: KeyTable, token: str | None, now: float = 1000.0) -> str:
    try:
        return table.find(None if token is None else token.encode(), now).id
    except AppError as error:
        return error.code


def test_only_live_keys_are_found() -> None:
    table = KeyTable([key_row("k1", TEXT, ["credit"], expires_at=2000.0)])
    assert find(table, TEXT) == "k1"
    assert find(table, TEXT, now=2000.0) == "key.expired"
    assert find(table, TEXT + "x") == "key.unknown"
    assert find(table, "x" * 10_000) == "key.unknown"
    assert find(table, None) == "key.missing"


def test_revoked_key_is_unknown_from_the_next_table_on() -> None:
    row = key_row("k1", TEXT, ["credit"])
    assert find(KeyTable([row]), TEXT) == "k1"
    import msgspec

    assert find(KeyTable([msgspec.structs.replace(row, revoked_at=1.0)]), TEXT) == "key.revoked"


@pytest.mark.parametrize(
    ("endpoints", "actions", "asked", "code"),
    [
        (["credit"], ["predict"], ("predict", "credit"), ""),
        (["credit"], ["predict"], ("predict", "other"), "key.endpoint"),
        (["credit"], ["stream"], ("predict", "credit"), "key.action"),
        (["*"], ["*"], ("anything", "anywhere"), ""),
    ],
)
def test_key_may_what_it_is_for(
    endpoints: list[str], actions: list[str], asked: tuple[str, str], code: str
) -> None:
    key = KeyTable([key_row("k", TEXT, endpoints, actions)]).find(TEXT.encode())
    if not code:
        key.may(*asked)
        return
    with pytest.raises(AppError) as caught:
        key.may(*asked)
    assert caught.value.code == code


def test_key_of_one_endpoint_names_it() -> None:
    assert KeyTable([key_row("k", TEXT, ["credit"])]).find(TEXT.encode()).only == "credit"
    assert KeyTable([key_row("k", TEXT, ["a", "b"])]).find(TEXT.encode()).only == ""
    assert KeyTable([key_row("k", TEXT, ["*"])]).find(TEXT.encode()).only == ""
