"""Every environment variable, as data: what it is for and who reads it."""

from __future__ import annotations

from msgspec import Struct


class Variable(Struct, frozen=True):
    """One environment variable.

    Attributes:
        name: as in the environment.
        default: in words, as the README shows it.
        meaning: one sentence.
        used_by: the commands that read it.
    """

    name: str
    default: str
    meaning: str
    used_by: str = "all"


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "INTERLOCK_HOME",
        "`~/.interlock`",
        "Folder for data, keys, spool and logs; `--home` goes before it. For a root whose own "
        "folder is closed to others: `/var/lib/interlock`.",
    ),
    Variable(
        "DATABASE_URL",
        "embedded",
        "PostgreSQL 18: `postgresql://user:password@host/database`. "
        "`up` starts its own without it.",
    ),
    Variable(
        "REDIS_URL", "embedded", "Redis or Valkey: `redis://...`. `up` starts its own without it."
    ),
    Variable(
        "ARTIFACT_STORE",
        "`HOME/artifacts`",
        "Where model packages and datasets are kept: a folder or `s3://bucket/prefix` (credentials "
        "as for the tools of AWS).",
    ),
    Variable("INTERLOCK_BIND", "`127.0.0.1`", "Address to listen on.", "up, router, control-plane"),
    Variable("INTERLOCK_PORT", "`8080`", "Port of the data plane.", "up, router"),
    Variable(
        "INTERLOCK_TLS_CERTIFICATE",
        "plain HTTP",
        "File of the PEM chain both ports serve TLS with; read again when it changes.",
        "up, router, control-plane",
    ),
    Variable(
        "INTERLOCK_TLS_KEY",
        "-",
        "File of the private key that belongs to it.",
        "up, router, control-plane",
    ),
    Variable(
        "INTERLOCK_TLS_CLIENT_CA",
        "any client",
        "File of the authority whose client certificates are let in (mutual TLS).",
        "up, router, control-plane",
    ),
    Variable("INTERLOCK_CONTROL_PORT", "`8081`", "Port of the control plane.", "up, control-plane"),
    Variable(
        "INTERLOCK_WORKERS",
        "2, or the number of cores if that is less",
        "Router processes on this node.",
        "up, router",
    ),
    Variable(
        "INTERLOCK_NODE", "host name", "Name of this node in the audit and in `nodes`.", "all"
    ),
    Variable(
        "INTERLOCK_FASTLANE",
        "`1`",
        "`0` answers predictions through the web framework instead of the fast protocol.",
        "router",
    ),
    Variable(
        "INTERLOCK_ROOT_KEY",
        "`HOME/secrets/root.pub`",
        "Public root key that everything else is trusted through: base64, or a file that holds it.",
        "router, control-plane, worker",
    ),
    Variable(
        "INTERLOCK_ROSTER",
        "`HOME/secrets/roster.json`",
        "Roster envelope loaded at start when it is newer than the stored one.",
        "control-plane",
    ),
    Variable(
        "INTERLOCK_RELEASER_KEY",
        "`HOME/secrets/releaser.key`",
        "File of the private key that signs releases.",
        "control-plane",
    ),
    Variable(
        "INTERLOCK_BUILDER_KEY",
        "`HOME/secrets/builder.key`",
        "File of the private key that signs model packages.",
        "worker",
    ),
    Variable(
        "INTERLOCK_LEDGER_KEY",
        "`HOME/secrets/ledger.key`",
        "File of the private key that signs checkpoints of the audit chain.",
        "shipper",
    ),
    Variable(
        "INTERLOCK_SUBJECT_KEY",
        "`HOME/secrets/subject.key`",
        "File of the key under which subjects are stored as a keyed hash.",
        "router, control-plane",
    ),
    Variable(
        "INTERLOCK_MASTER_KEY",
        "`HOME/secrets/master.key`",
        "File of the key that protects connection secrets and sensitive features.",
        "router, control-plane, worker, shipper, explainer",
    ),
    Variable(
        "INTERLOCK_BOOTSTRAP_TOKEN",
        "`HOME/secrets/bootstrap.token`",
        "File of the one-time token that creates the first superadmin.",
        "control-plane",
    ),
    Variable(
        "INTERLOCK_MODEL_MEMORY_MB",
        "4096",
        "Memory that the models of one router worker may take, MiB; a model beyond it is refused.",
        "router",
    ),
    Variable(
        "INTERLOCK_SPOOL",
        "`HOME/spool`",
        "Folder of the audit segments; a disk of its own is best.",
        "router, shipper",
    ),
    Variable(
        "INTERLOCK_CONTROL_URL",
        "of the stack in the home",
        "Control plane that the terminal commands talk to.",
        "terminal",
    ),
    Variable(
        "INTERLOCK_TOKEN",
        "of the last `login`",
        "Session or service token of the terminal commands.",
        "terminal",
    ),
    Variable("INTERLOCK_PASSWORD", "asked for", "Password, for scripts.", "terminal"),
    Variable("INTERLOCK_NEW_PASSWORD", "asked for", "New password, for scripts.", "terminal"),
    Variable("INTERLOCK_KEY", "-", "Routing key of the load tester.", "loadtest"),
    Variable(
        "INTERLOCK_AGENT_TOKEN",
        "-",
        "Shared secret of a load-test agent and those who send it plans.",
        "loadtest",
    ),
)


def table() -> str:
    """The variables as a Markdown table."""
    lines = ["| variable | default | meaning | read by |", "|---|---|---|---|"]
    lines += [f"| `{v.name}` | {v.default} | {v.meaning} | {v.used_by} |" for v in VARIABLES]
    return "\n".join(lines)
