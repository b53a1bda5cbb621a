"""A comparison of two rule tables for people."""

from __future__ import annotations

import click
import msgspec

from compiler.rules.diff.report import Region, Side, TableDiff

VERDICTS = {
    "same": "same meaning: proved for every request that the schema accepts",
    "differs": "the tables differ",
    "not_proven": "not proven: no difference was found, and none is excluded",
}


def show_table_diff(found: TableDiff) -> None:
    """Regions with their examples, and what that proves."""
    for change in found.schema:
        click.echo(f"schema: {change}")
    for number, region in enumerate(found.regions, 1):
        _show_region(number, region)
    if found.omitted:
        click.echo(f"... and {found.omitted} more regions")
    click.echo(VERDICTS[found.verdict])
    if found.why:
        click.echo(f"  {found.why}")
    rows = f" and {found.examples:,} drawn rows" if found.examples else ""
    if found.searched:
        click.echo(f"  looked at {found.searched:,} combinations of values{rows}")
    else:
        click.echo("  rule by rule: each has a twin with the same condition and consequent")


def _show_region(number: int, region: Region) -> None:
    click.echo(f"{number}. {worded(region.before)}  ->  {worded(region.after)}")
    for place, where in enumerate(region.where):
        click.echo(f"   {'where' if place == 0 else '   or'}  {where}")
    if region.more:
        click.echo(f"      or  {region.more} more such conditions")
    if region.moved is not None:
        click.echo(f"   {region.moved:.2%} of the units get another arm")
    click.echo(f"   for example  {msgspec.json.encode(region.example).decode()}")


def worded(side: Side) -> str:
    """Outcome and rule."""
    return f"{side.outcome} [{side.rule}]"
