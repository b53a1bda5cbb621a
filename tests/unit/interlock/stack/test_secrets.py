"""Keys and passwords: created once, verified by what they are for."""

from datetime import UTC, datetime

from compiler.identity import Trust
from compiler.signing import KeyPair, sign, unb64
from compiler.statements import RELEASE
from interlock.home import Home
from interlock.stack.secrets import ensure_secrets


def test_second_call_changes_nothing(open_folder):
    home = Home(open_folder)
    home.create()
    first = ensure_secrets(home)
    before = {path: path.read_bytes() for path in home.secrets.iterdir() if path.is_file()}
    assert ensure_secrets(home) == first
    assert {path: path.read_bytes() for path in before} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in before)


def test_first_roster_trusts_the_machine_keys_under_the_root(open_folder):
    home = Home(open_folder)
    home.create()
    ensure_secrets(home)
    root = unb64((home.secrets / "root.pub").read_text().strip())
    envelope = (home.secrets / "roster.json").read_bytes()
    trust = Trust.from_roster(envelope, root, now=datetime.now(UTC))
    releaser = KeyPair.load(home.secrets / "releaser.key")
    payload, person = trust.verify(sign(RELEASE, b"{}", releaser), RELEASE, "releaser")
    assert (payload, person) == (b"{}", "releaser")
