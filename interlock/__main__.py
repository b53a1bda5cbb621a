"""``python -m interlock`` and the ``interlock`` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from interlock.cli import cli

    cli()


if __name__ == "__main__":
    main()
