"""``interlock login``, ``users``, ``roster`` and ``log``: who may do what at the control plane."""

from __future__ import annotations

from pathlib import Path

import click

from interlock.present import show_facts, show_rows
from interlock.remote import Remote, remote_command

PERSON = ("email", "name", "role", "kind", "owner", "disabled_at")


@click.command()
@click.option("--email", prompt="E-mail")
@click.option("--password", envvar="INTERLOCK_PASSWORD", prompt=True, hide_input=True)
@remote_command
def login(remote: Remote, email: str, password: str) -> None:
    """Log in; the session is remembered for this account of the machine, 0600."""
    answer = remote.call("POST", "/login", {"email": email, "password": password})
    remote.remember(answer["user"]["email"], answer)
    user = answer["user"]
    click.echo(f"logged in as {user['email']} ({user['role']}) until {answer['expires_at'][:19]}")


@click.command()
@remote_command
def logout(remote: Remote) -> None:
    """End the session."""
    remote.call("POST", "/logout")
    remote.forget()
    click.echo("logged out")


@click.group()
def users() -> None:
    """People and service accounts."""


@users.command("list")
@remote_command
def list_users(remote: Remote) -> None:
    """Everybody."""
    show_rows(remote.pages("/users"), PERSON, as_json=remote.as_json, empty="nobody yet")


@users.command("bootstrap")
@click.option("--email", required=True)
@click.option("--name", required=True)
@click.option("--password", envvar="INTERLOCK_PASSWORD", prompt=True, hide_input=True)
@click.option("--token-file", type=click.Path(path_type=Path), help="Default: in the home.")
@remote_command
def bootstrap(
    remote: Remote, email: str, name: str, password: str, token_file: Path | None
) -> None:
    """Create the first superadmin with the one-time token of the installation."""
    path = token_file or remote.home.secrets / "bootstrap.token"
    token = path.read_text("utf-8").strip()
    body = {"token": token, "name": name, "email": email, "password": password}
    show_facts(remote.call("POST", "/bootstrap", body), PERSON, as_json=remote.as_json)


@users.command("create")
@click.argument("email")
@click.option("--name", required=True)
@click.option(
    "--role",
    required=True,
    type=click.Choice(["superadmin", "manager", "data_scientist", "compliance_manager"]),
)
@click.option("--password", envvar="INTERLOCK_NEW_PASSWORD", prompt=True, hide_input=True)
@remote_command
def create_user(remote: Remote, email: str, name: str, role: str, password: str) -> None:
    """Create a person."""
    body = {"name": name, "email": email, "password": password, "role": role}
    show_facts(remote.call("POST", "/users", body), PERSON, as_json=remote.as_json)


@users.command("change")
@click.argument("email")
@click.option("--role")
@click.option("--allow", multiple=True, help="Permission words that widen the role.")
@click.option("--deny", multiple=True, help="Permission words that narrow it.")
@click.option("--disable/--enable", "disabled", default=None, help="Lock out, or let in.")
@remote_command
def change_user(
    *,
    remote: Remote,
    email: str,
    role: str | None,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    disabled: bool | None,
) -> None:
    """Change role or permissions, lock out, let in."""
    change = {
        "role": role,
        "allowed": list(allow) or None,
        "denied": list(deny) or None,
        "disabled": disabled,
    }
    body = {name: value for name, value in change.items() if value is not None}
    answer = remote.call("PATCH", f"/users/{email}", body)
    show_facts(answer, (*PERSON, "permissions"), as_json=remote.as_json)


@users.command("unlock")
@click.argument("email")
@remote_command
def unlock(remote: Remote, email: str) -> None:
    """Forget the failed logins of a person."""
    remote.call("POST", f"/users/{email}/unlock")
    click.echo(f"{email} may log in again")


@users.command("roles")
@remote_command
def roles(remote: Remote) -> None:
    """The permission matrix."""
    answer = remote.call("GET", "/roles")
    if remote.as_json:
        show_facts(answer, as_json=True)
        return
    held = {row["name"]: set(row["permissions"]) for row in answer["items"]}
    rows = [
        {"permission": word, **{role: "x" if word in held[role] else "" for role in held}}
        for word in answer["permissions"]
    ]
    show_rows(rows, ("permission", *held), as_json=False, empty="")
    for pair in answer["apart"]:
        click.echo(f"\nnever together: {', '.join(pair['one'])} | {', '.join(pair['other'])}")
        click.echo(f"  because {pair['why']}")


@users.command("service")
@click.argument("name")
@click.option("--owner", required=True, help="Who answers for what it does.")
@click.option("--role", required=True)
@remote_command
def create_service(remote: Remote, name: str, owner: str, role: str) -> None:
    """Create a service account."""
    body = {"name": name, "owner": owner, "role": role}
    show_facts(remote.call("POST", "/services", body), PERSON, as_json=remote.as_json)


@users.command("token")
@click.argument("service")
@click.option("--name", required=True)
@click.option("--days", default=90, show_default=True)
@click.option("--scope", multiple=True, help="Permission words at most; default: the account's.")
@remote_command
def create_token(
    remote: Remote, service: str, name: str, days: int, scope: tuple[str, ...]
) -> None:
    """Make a token of a service account; it is shown once."""
    body = {"name": name, "days": days, "scope": list(scope) or None}
    answer = remote.call("POST", f"/services/{service}/tokens", body)
    show_facts(answer, ("id", "token", "expires_at"), as_json=remote.as_json)


@click.group()
def roster() -> None:
    """Whose signatures count."""


@roster.command("show")
@remote_command
def show_roster(remote: Remote) -> None:
    """The roster that counts at the control plane."""
    answer = remote.call("GET", "/roster")
    if not remote.as_json:
        click.echo(f"version {answer['version']}, expires {answer['expires']}")
    columns = ("id", "person", "roles", "revoked_at")
    show_rows(answer["keys"], columns, as_json=remote.as_json, empty="no keys")


@roster.command("push")
@click.option("--file", type=click.Path(path_type=Path), help="Default: roster.json of the home.")
@remote_command
def push_roster(remote: Remote, file: Path | None) -> None:
    """Install the roster that the root key signed."""
    path = file or remote.home.secrets / "roster.json"
    answer = remote.call("PUT", "/roster", path.read_bytes())
    click.echo(f"roster version {answer['version']} with {len(answer['keys'])} keys counts now")


@click.command("log")
@click.option("--actor")
@click.option("--subject")
@click.option("--action", help="Prefix, such as release.")
@click.option("--limit", default=50, show_default=True)
@remote_command
def admin_log(
    remote: Remote, actor: str | None, subject: str | None, action: str | None, limit: int
) -> None:
    """The administrative log, newest first."""
    rows = remote.pages("/log", actor=actor, subject=subject, action=action, limit=min(limit, 500))
    first = [row for row, _ in zip(rows, range(limit), strict=False)]
    columns = ("at", "actor", "action", "subject", "detail")
    show_rows(first, columns, as_json=remote.as_json, empty="nothing was done yet")
