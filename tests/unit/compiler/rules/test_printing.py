"""Printing a table and reading it back gives the same table, in both forms and across them."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, Phase, given, settings

from compiler.rules.json_source import load_json
from compiler.rules.parse_json import parse_document
from compiler.rules.parse_text import parse_text
from compiler.rules.pipeline import compile_rules
from compiler.rules.places import without_places
from compiler.rules.print_json import table_json
from compiler.rules.print_table import print_table
from compiler.schema import OutputSchema
from tests.printable import printable_tables
from tests.strategies import PLAIN

SETTINGS = settings(
    max_examples=120, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking whole tables takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
OUTPUT = OutputSchema("classification", ("bad", "good"))


def _parsed(document):
    return without_places(parse_document(document, features=PLAIN).table)


@SETTINGS
@given(printable_tables())
def test_both_forms_are_read_back_as_the_table_they_print(document):
    table = _parsed(document)
    text = print_table(table)
    data = table_json(table)
    assert without_places(parse_text(text, kind=table.kind)) == table
    assert _parsed(load_json(json.dumps(data))) == table
    assert print_table(without_places(parse_text(text, kind=table.kind))) == text
    assert table_json(_parsed(data)) == data


@SETTINGS
@given(printable_tables())
def test_a_checked_table_prints_to_one_that_checks_to_the_same(document):
    rules = compile_rules(document, features=PLAIN, output=OUTPUT, kind=document["kind"])
    table = without_places(rules.table)
    for again in (print_table(table), table_json(table)):
        found = compile_rules(again, features=PLAIN, output=OUTPUT, kind=table.kind)
        assert without_places(found.table) == table
