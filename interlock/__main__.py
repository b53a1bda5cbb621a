"""``python -m interlock`` and the ``interlock`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; what the product refuses is said on one screen, with status 1."""
    from compiler.errors import AppError
    from interlock.cli import cli

    try:
        cli(prog_name="interlock")
    except AppError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
