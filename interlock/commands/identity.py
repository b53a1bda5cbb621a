"""``interlock identity``: signing keys of people, enrolled in the root-signed roster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, get_args

import click
import msgspec

from compiler.errors import AppError
from compiler.identity import Role, Roster, enrol, read_roster, revoke, roster_key, sign_roster
from compiler.signing import KeyPair, b64, key_id, sign, unb64
from compiler.statements import MODEL_APPROVAL, RELEASE_APPROVAL, format_time
from interlock.home import Home, default_home
from interlock.stack.secrets import write_private

ROSTER_LIFE = timedelta(days=730)
HOME = click.option(
    "--home",
    type=click.Path(path_type=Path),
    envvar="INTERLOCK_HOME",
    help="Home with root key and roster; default ~/.interlock.",
)


class Asked(msgspec.Struct):
    """A statement as the control plane words it."""

    payload_type: str
    payload: str


class IdentityError(AppError):
    """The key or the roster cannot be used this way."""

    code = "identity.invalid"


@click.group()
def identity() -> None:
    """Create, enrol and revoke signing keys."""


@identity.command()
@click.argument("person")
@click.option("--out", type=click.Path(path_type=Path), help="Key file; default below the home.")
@click.option("--passphrase/--no-passphrase", default=False, help="Ask for one and seal the key.")
@HOME
def create(person: str, out: Path | None, passphrase: bool, home: Path | None) -> None:
    """Make a key pair for PERSON (an e-mail); the private half never leaves the file."""
    path = out or _home(home).person_key(_person(person))
    secret = None
    if passphrase:
        secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True)
    key = KeyPair.generate()
    key.save(path, secret)
    click.echo(f"key     {key.id}")
    click.echo(f"public  {b64(key.public)}")
    click.echo(f"file    {path} (mode 0600{', sealed' if secret else ''})")
    click.echo("Give the public line to whoever holds the root key; it counts once it is enrolled.")


@identity.command("enrol")
@click.argument("person")
@click.option("--public", help="Public key (base64); default: the person's key file in the home.")
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(get_args(Role)), default=("approver",)
)
@click.option("--root", type=click.Path(exists=True, path_type=Path), help="Root key file.")
@HOME
def enrol_command(
    person: str, public: str | None, roles: tuple[Role, ...], root: Path | None, home: Path | None
) -> None:
    """Add PERSON's key to the roster and sign the next version with the root key."""
    place = _home(home)
    if public is None:
        public = b64(KeyPair.load(place.person_key(_person(person))).public)
    try:
        raw = unb64(public)
    except ValueError as error:
        raise IdentityError(f"expected a public key in base64, got {public[:60]!r}") from error
    if len(raw) != 32:
        raise IdentityError(f"expected a public key of 32 bytes, got {len(raw)}")
    key = _root(place, root)
    roster = enrol(_roster(place, key), roster_key(raw, person, *roles))
    _write(place, roster, key)
    click.echo(f"enrolled  {person} {key_id(raw)} as {', '.join(roles)}")
    click.echo(f"roster    version {roster.version}, {_roster_path(place)}")


@identity.command("revoke")
@click.argument("key")
@click.option("--root", type=click.Path(exists=True, path_type=Path), help="Root key file.")
@HOME
def revoke_command(key: str, root: Path | None, home: Path | None) -> None:
    """Revoke KEY (a key id, or a person for all their keys) in the next roster version."""
    place = _home(home)
    pair = _root(place, root)
    roster = revoke(_roster(place, pair), key, format_time(datetime.now(UTC)))
    _write(place, roster, pair)
    click.echo(f"revoked  {key}")
    click.echo(f"roster   version {roster.version}, {_roster_path(place)}")


@identity.command("sign")
@click.option("--key", required=True, type=click.Path(exists=True, path_type=Path), help="Yours.")
@click.argument("statement", type=click.File("rb"), default="-")
def sign_command(key: Path, statement: BinaryIO) -> None:
    """Sign an approval STATEMENT as the API words it; prints the body that approves.

    Example: curl -s .../statement | interlock identity sign --key my.key > approval.json
    """
    raw = statement.read()
    try:
        asked = msgspec.json.decode(raw, type=Asked)
        payload = unb64(asked.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise IdentityError(
            f"expected a statement with payload_type and payload, got {raw[:80]!r}",
            hint="it is what GET .../statement answers",
        ) from error
    if asked.payload_type not in (MODEL_APPROVAL, RELEASE_APPROVAL):
        raise IdentityError(
            f"expected an approval, got {asked.payload_type[:80]!r}",
            hint="rosters and packages are signed by commands of their own",
        )
    click.echo(f"signing: {payload.decode(errors='replace')}", err=True)
    envelope = sign(asked.payload_type, payload, KeyPair.load(key))
    click.echo(msgspec.json.encode({"envelope": envelope.decode()}).decode())


@identity.command("list")
@HOME
def list_command(home: Path | None) -> None:
    """Show the roster: who may sign what."""
    place = _home(home)
    roster = _roster(place, None)
    click.echo(f"roster version {roster.version}, expires {roster.expires}")
    for key in roster.keys:
        state = f"revoked {key.revoked_at}" if key.revoked_at else "valid"
        click.echo(f"  {key.id}  {key.person:<32} {', '.join(key.roles):<20} {state}")


def _home(home: Path | None) -> Home:
    return Home(home.expanduser()) if home is not None else Home(default_home())


def _person(person: str) -> str:
    """A name that is also a file name.

    Raises:
        IdentityError: it holds a path separator or is empty.
    """
    if not person or "/" in person or person.startswith("."):
        raise IdentityError(f"expected an e-mail address, got {person!r}")
    return person


def _roster_path(home: Home) -> Path:
    return home.secrets / "roster.json"


def _root(home: Home, root: Path | None) -> KeyPair:
    return KeyPair.load(root or home.secrets / "root.key")


def _roster(home: Home, root: KeyPair | None) -> Roster:
    """The current roster; with the root key at hand, a first empty one where there is none."""
    path = _roster_path(home)
    if path.is_file():
        public = root.public if root is not None else _public(home)
        return read_roster(path.read_bytes(), public)
    if root is None:
        raise IdentityError("there is no roster yet", at=str(path), hint="enrol a key first")
    return Roster(0, format_time(datetime.now(UTC) + ROSTER_LIFE))


def _public(home: Home) -> bytes:
    path = home.secrets / "root.pub"
    if not path.is_file():
        raise IdentityError("there is no root key", at=str(path), hint="is this the right --home?")
    return unb64(path.read_text().strip())


def _write(home: Home, roster: Roster, root: KeyPair) -> None:
    home.secrets.mkdir(parents=True, exist_ok=True)
    write_private(_roster_path(home), sign_roster(roster, root))
