"""``interlock metrics``: a dashboard and alert rules that fit what the routers count."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def metrics() -> None:
    """What to watch the data plane with.

    Example: interlock metrics alerts --home ~/.interlock > interlock-alerts.yml
    """


@metrics.command()
def dashboard() -> None:
    """Print a Grafana dashboard as JSON, for import or provisioning."""
    from router.metrics.grafana import dashboard as make

    click.echo(make(), nl=False)


@metrics.command()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Home of a router: rules for each endpoint it serves, by the endpoint's objectives. "
    "Without it one rule watches all endpoints together.",
)
def alerts(home: Path | None) -> None:
    """Print Prometheus alert rules as YAML. The scrape job must be called interlock."""
    from router.metrics.alerts import alert_rules

    click.echo(alert_rules({} if home is None else _objectives(home)), nl=False)


def _objectives(home: Path) -> dict[str, dict[str, float]]:
    """Objectives by endpoint, from the router's own copy of its releases."""
    import msgspec

    from compiler.errors import AppError
    from router.release.disk import read_snapshot
    from router.release.spec import ReleaseBundle, read_content

    try:
        snapshot = read_snapshot(home.expanduser() / "cache" / "router")
        if snapshot is None:
            raise click.ClickException(f"no router has served from {home} yet")
        bundles = [msgspec.msgpack.decode(r.bundle, type=ReleaseBundle) for r in snapshot.releases]
        found = [read_content(bundle.content) for bundle in bundles]
    except (AppError, msgspec.MsgspecError) as error:
        raise click.ClickException(str(error)) from error
    return {content.endpoint: content.slo for content in found}
