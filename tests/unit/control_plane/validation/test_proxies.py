"""Features that tell the groups of a protected attribute apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score, roc_auc_score

from control_plane.validation.proxies import information, screen

ROWS = 4000


@pytest.fixture(scope="module")
def people():
    random = np.random.default_rng(3)
    sex = random.choice(np.array(["f", "m"], object), ROWS)
    return random, sex


def test_number_and_word_that_follow_the_attribute_are_to_be_reviewed(people):
    random, sex = people
    height = np.where(sex == "m", 180.0, 167.0) + random.normal(0, 8, ROWS)
    job = np.where(random.random(ROWS) < 0.9, sex, "x").astype(object)
    noise = random.normal(size=ROWS)
    found = {p.feature: p for p in screen({"sex": sex}, {"h": height, "job": job, "n": noise})}
    assert found["h"].auc == pytest.approx(roc_auc_score(sex == "m", height), abs=1e-9)
    assert found["h"].review
    assert found["job"].review
    assert found["job"].information > 0.5
    assert not found["n"].review
    assert found["n"].information < 0.02
    assert found["n"].auc == pytest.approx(0.5, abs=0.05)


def test_thousands_of_words_that_say_nothing_are_not_known_by_heart(people):
    random, sex = people
    words = random.integers(0, 3000, ROWS).astype(str).astype(object)
    half = random.integers(0, 60, ROWS).astype(str).astype(object)
    found = {p.feature: p for p in screen({"sex": sex}, {"rare": words, "many": half})}
    assert found["rare"].auc < 0.56
    assert found["many"].auc < 0.56


def test_direction_and_missing_values_make_no_difference(people):
    _, sex = people
    down = np.where(sex == "m", -1.0, 1.0)
    down[::7] = np.nan
    (found,) = screen({"sex": sex}, {"down": down})
    assert found.auc > 0.85


def test_groups_too_small_to_judge_are_left_out_and_the_clearest_pair_comes_first(people):
    random, sex = people
    rare = sex.copy()
    rare[:20] = "other"
    age = random.normal(40, 10, ROWS)
    found = screen({"sex": rare, "age": age}, {"a": age, "n": random.normal(size=ROWS)})
    assert (found[0].attribute, found[0].feature) == ("age", "a")
    assert {p.group for p in found if p.attribute == "sex"} <= {"f", "m"}
    assert screen({"all": np.full(ROWS, "x", object)}, {"a": age}) == []


def test_information_agrees_with_scikit_learn(people):
    random, sex = people
    codes = (sex == "m").astype(np.int64)
    cells = np.where(random.random(ROWS) < 0.7, codes, random.integers(0, 5, ROWS))
    whole = mutual_info_score(codes, codes)
    expected = mutual_info_score(cells, codes) / whole
    assert information(cells.astype(np.int64), codes) == pytest.approx(expected)
