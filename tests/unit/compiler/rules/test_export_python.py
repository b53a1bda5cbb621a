"""A table exported to Python answers as the reference, with the standard library alone."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules import ast
from compiler.rules.export.exported import route_of
from compiler.rules.export.python import to_python
from compiler.rules.pipeline import compile_rules
from compiler.rules.splits import assign
from compiler.schema import Feature, OutputSchema
from tests.printable import printable_tables
from tests.strategies import NOW_US, PLAIN, sound_rows, wild_rows

NOW = dt.datetime.fromtimestamp(NOW_US / 1e6, dt.UTC)
OUTPUT = OutputSchema("classification", ("bad", "good"))
SETTINGS = settings(
    max_examples=100, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip


def _loaded(rules):
    space = {}
    exec(compile(to_python(rules).text, "exported", "exec"), space)
    return space


def _numpy_free(row):
    return {name: value for name, value in row.items() if not isinstance(value, np.generic)}


@SETTINGS
@given(printable_tables(), st.lists(sound_rows() | wild_rows().map(_numpy_free), max_size=5))
def test_the_module_answers_as_the_reference_whatever_the_values(document, rows):
    rules = compile_rules(document, features=PLAIN, output=OUTPUT, kind=document["kind"])
    space = _loaded(rules)
    for row in rows:
        index, _ = rules.reference(row, NOW_US)
        if index < 0:
            with pytest.raises(space["UnknownRuleError"], match="r"):
                space["decide"](row, NOW)
            continue
        assert space["decide"](row, NOW) == rules.ids[index]
        leaf = rules.consequents[index]
        if not isinstance(leaf, ast.SplitConsequent):
            assert space["route"](row, NOW) == route_of(leaf)
        elif type(row.get(leaf.unit)) in (str, int, type(None)):
            expected = leaf.arms[assign(leaf, row.get(leaf.unit)).arm].model
            assert space["route"](row, NOW) == expected


def test_the_module_runs_without_the_product(tmp_path):
    features = {
        "class": Feature(type="float"),
        "_and": Feature(type="string"),
        "row": Feature(type="int"),
    }
    text = (
        "IF class > 1.5 AND _and = 'x' THEN a "
        "ELSE IF row = 3 THEN SPLIT (1: b, 1: c) SALT 's' ELSE REJECT"
    )
    module = tmp_path / "exported.py"
    rules = compile_rules(text, features=features)
    module.write_text(to_python(rules).text)
    call = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from exported import route; "
        "print(route({'class': 2, '_and': 'x'}), route({'row': 3.0, 'split_id': 'u7'}))"
    )
    alone = [sys.executable, "-I", "-S", "-c", call]
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    split = rules.consequents[1]
    assert done.stderr == ""
    assert done.stdout.split() == ["a", split.arms[assign(split, "u7").arm].model]
