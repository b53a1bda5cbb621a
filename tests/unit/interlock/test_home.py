"""The home: locked by one stack, closed to others."""

import os

import pytest

from interlock.home import Home, HomeLockedError


def test_second_holder_is_refused_with_the_process_of_the_first(open_folder):
    home = Home(open_folder)
    refused = pytest.raises(HomeLockedError, match=str(os.getpid()))
    with home.locked(), refused as error, home.locked():
        pass
    assert "--home" in error.value.hint


def test_lock_is_free_again_after_its_holder_left(open_folder):
    home = Home(open_folder)
    with home.locked():
        pass
    with home.locked():
        pass


def test_secrets_are_closed_to_everyone_else(open_folder):
    home = Home(open_folder)
    home.create()
    assert home.secrets.stat().st_mode & 0o077 == 0
    assert home.people.stat().st_mode & 0o077 == 0
