"""The ``interlock`` command: a table of commands, each imported only when it is used.

A router worker must not pay for the training stack, so nothing here imports a command's module
before that command is called.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "rules": (
        "interlock.commands.rules:rules",
        "Check, evaluate, explain, convert and compare rule tables.",
    ),
    "models": ("interlock.commands.models:models", "Inspect, verify and score model packages."),
    "identity": ("interlock.commands.identity:identity", "Create and enrol signing keys."),
    "up": ("interlock.commands.up:up", "Run the whole stack on this machine."),
    "router": ("interlock.commands.roles:router", "Serve predictions."),
    "control-plane": ("interlock.commands.roles:control_plane", "Serve the control plane."),
    "shipper": ("interlock.commands.roles:shipper", "Ship audit records to PostgreSQL."),
    "explainer": ("interlock.commands.roles:explainer", "Explain recorded predictions."),
    "worker": ("interlock.commands.roles:worker", "Run training and validation jobs."),
    "migrate": ("interlock.commands.roles:migrate", "Bring the database up to date."),
    "audit": ("interlock.commands.audit:audit", "Query and verify the evidence."),
    "login": ("interlock.commands.people:login", "Log in at the control plane."),
    "logout": ("interlock.commands.people:logout", "End the session."),
    "users": ("interlock.commands.people:users", "People, roles and permissions."),
    "roster": ("interlock.commands.people:roster", "Whose signatures count."),
    "log": ("interlock.commands.people:admin_log", "The administrative log."),
    "datasets": ("interlock.commands.data:datasets", "Declare and upload data."),
    "train": ("interlock.commands.data:train", "Train a version, or search for the best."),
    "runs": ("interlock.commands.data:runs", "Training runs and leaderboards."),
    "validate": ("interlock.commands.governance:validate", "Validate a version on a snapshot."),
    "compliance": ("interlock.commands.governance:compliance", "Twelve sections and their score."),
    "jobs": ("interlock.commands.governance:jobs", "Work in the background."),
    "registry": ("interlock.commands.judge:registry", "Models, versions and reports."),
    "submit": ("interlock.commands.judge:submit", "Ask for approval of a model version."),
    "approve": ("interlock.commands.judge:approve", "Sign the approval of a model version."),
    "reject": ("interlock.commands.judge:reject", "Reject a model version, or ask for changes."),
    "endpoints": ("interlock.commands.endpoints:endpoints", "Endpoints, drafts, kill switch."),
    "releases": ("interlock.commands.releases:releases", "Propose, approve, activate, roll back."),
    "keys": ("interlock.commands.releases:keys", "Routing keys of callers."),
    "nodes": (
        "interlock.commands.releases:nodes",
        "Router nodes and what they serve; `drain --wait` for scale-in hooks.",
    ),
    "metrics": ("interlock.commands.metrics:metrics", "Dashboard and alert rules for routers."),
    "bulk": ("interlock.commands.bulk:bulk", "Score files by an endpoint's active release."),
    "loadtest": ("interlock.commands.loadtest:loadtest", "Measure a running endpoint."),
    "bench": ("interlock.commands.bench:bench", "Reproduce the numbers of the README."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module behind a name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command: Any = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help from the table, so that help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in COMMANDS.items()])


@click.command(cls=LazyGroup)
@click.version_option(package_name="interlock")
def cli() -> None:
    """Interlock: inference routing with compiled rules and evidence.

    Start with: interlock up --demo
    """
