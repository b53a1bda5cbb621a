"""Roles as data: inheritance, narrowing, and duties that stay apart."""

from __future__ import annotations

import itertools

from control_plane.identity.permissions import (
    PERMISSIONS,
    ROLES,
    conflict,
    effective,
    role_names,
    spread,
)


def test_every_role_is_free_of_conflicts_and_names_known_permissions():
    for role in role_names():
        assert ROLES[role] <= PERMISSIONS.keys()
        assert conflict(effective(role)) == ""


def test_no_role_both_makes_and_approves():
    for role in role_names():
        assert not {"runs.write", "models.approve"} <= ROLES[role]
        assert not {"users.write", "releases.approve"} <= ROLES[role]


def test_a_group_word_gives_everything_below_it_and_nothing_else():
    assert spread(frozenset({"keys"})) == {"keys.read", "keys.write"}
    assert spread(frozenset({"key"})) == frozenset()


def test_narrowing_wins_over_widening():
    held = effective("manager", frozenset({"datasets"}), frozenset({"datasets.write", "keys"}))
    assert "datasets.read" in held
    assert not held & {"datasets.write", "keys.read", "keys.write"}


def test_widening_across_duties_is_a_conflict_for_every_role():
    crossings = {
        "superadmin": "models.approve",
        "manager": "runs.write",
        "data_scientist": "models.approve",
        "compliance_manager": "users.write",
    }
    for role, word in crossings.items():
        assert conflict(effective(role, frozenset({word})))  # type: ignore[arg-type]


def test_a_conflict_ends_when_the_other_side_is_denied():
    for left, right in itertools.permutations(("models.approve", "runs.write")):
        held = effective("manager", frozenset({left, right}), frozenset({right}))
        assert conflict(held) == ""
