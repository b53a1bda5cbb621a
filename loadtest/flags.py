"""Command-line flags that several commands share, and the plan they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtest.errors import LoadTestError
from loadtest.stack import find_demo_key, find_home, find_release, find_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.schema import FeatureMap
    from loadtest.plan import Load, Plan, Template
    from router.release.spec import ReleaseContent

FORMATS = ("json", "stream", "v2", "v2-binary")


def parse_seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read ``30s``, ``500ms``, ``2m``, ``1h`` or a plain number of seconds."""
    if value is None:
        return None
    for unit, factor in (("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)):
        if value.endswith(unit):
            try:
                return float(value[: len(value) - len(unit)]) * factor
            except ValueError:
                break
    raise click.BadParameter(f"expected a time such as 30s or 2m, got {value!r}")


_FILE = click.Path(dir_okay=False, path_type=Path)
_TARGET = (
    click.option("--url", "urls", multiple=True,
                 help="Data plane; repeat for several nodes. Default: the stack of --home, "
                 "else http://127.0.0.1:8080."),
    click.option("--endpoint", "endpoints", multiple=True,
                 help="Endpoint, as NAME or NAME=WEIGHT; repeat for a mix."),
    click.option("--path", help="Path to post to instead of the endpoint's own."),
    click.option("--key", envvar="INTERLOCK_KEY",
                 help="Routing key (ilk_...). Default: the demo's own."),
    click.option("--header", "headers", multiple=True, help="'Name: value'; repeatable."),
    click.option("--i-own-this-target", "owned", is_flag=True,
                 help="Needed for any target that is not this machine."),
    click.option("--home", help="Folder of the stack: endpoint schemas and calibration."),
)  # fmt: skip
_PAYLOAD = (
    click.option("--payload", type=_FILE,
                 help="Rows to send: NDJSON, CSV or Parquet; without it they are drawn."),
    click.option("--body", help="One JSON body for every request."),
    click.option("--replay", type=_FILE,
                 help="Audit records (NDJSON export), sent in their order."),
    click.option("--schema", type=_FILE,
                 help="Features to draw from: a rule table, package manifest or release."),
    click.option("--variants", type=click.IntRange(1, 100_000), default=1000, show_default=True,
                 help="Different rows to draw."),
    click.option("--batch-rows", type=click.IntRange(1, 10_000), default=1, show_default=True,
                 help="Rows per request."),
    click.option("--format", "body_format", type=click.Choice(FORMATS), default="json",
                 show_default=True,
                 help="Native JSON, NDJSON stream, or the Open Inference Protocol."),
    click.option("--check", "checks", multiple=True,
                 help="PATH=VALUE in the answer, or text it must contain; repeatable."),
    click.option("--golden", is_flag=True,
                 help="Every request's first answer must be repeated under load."),
    click.option("--expect", multiple=True, type=int, default=(200,), show_default=True,
                 help="Status that counts as good; repeatable."),
)  # fmt: skip
_SENDER = (
    click.option("--processes", type=int, default=1, show_default=True),
    click.option("--cpus", default="", help="Cores of the generator, such as 1 or 2,3."),
    click.option("--connections", type=int, default=32, show_default=True,
                 help="Opened before the run; more are opened on demand."),
    click.option("--max-inflight", type=int, default=2048, show_default=True),
    click.option("--no-keepalive", is_flag=True, help="One connection per request."),
    click.option("--timeout", default="10s", callback=parse_seconds, show_default=True),
    click.option("--abandon", type=float, default=0.0, help="Share of clients that walk away."),
    click.option("--abandon-after", default="5ms", callback=parse_seconds, show_default=True),
    click.option("--max-requests", type=int, default=5_000_000, show_default=True),
    click.option("--max-seconds", default="1h", callback=parse_seconds, show_default=True),
)  # fmt: skip


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Flags that say what is sent where and how, for every command that sends."""
    for option in reversed((*_TARGET, *_PAYLOAD, *_SENDER)):
        command = option(command)
    return command


def build_plan(load: Load, thresholds: tuple[str, ...], flags: dict[str, Any]) -> Plan:
    """The plan that the flags of :func:`target_options` describe.

    Without thresholds the endpoint's own objectives are taken, when its release is known here.
    """
    from loadtest.plan import Limits, Plan, Sender, parse_target
    from loadtest.requests import build_request

    home = find_home(flags["home"])
    flags = {**flags, "key": flags["key"] or find_demo_key(home)}
    targets = tuple(parse_target(url) for url in flags["urls"] or (find_url(home),))
    sender = Sender(
        processes=flags["processes"],
        connections=flags["connections"],
        cpus=_cpus(flags["cpus"]),
        keep_alive=not flags["no_keepalive"],
        abandon=flags["abandon"],
        abandon_after_s=flags["abandon_after"],
    )
    limits = Limits(
        flags["max_requests"], flags["max_seconds"], flags["max_inflight"], flags["timeout"]
    )
    templates, weights, objectives = _templates(targets[0], flags)
    return Plan(
        targets=targets,
        templates=templates,
        load=load,
        weights=weights,
        limits=limits,
        sender=sender,
        statuses=tuple(flags["expect"]),
        thresholds=thresholds or objectives,
        owned=flags["owned"],
        in_order=flags["replay"] is not None,
        golden=flags["golden"],
        metrics=build_request(
            targets[0], "/metrics", b"", headers=_auth(flags), method="GET", keep_alive=False
        ),
    )


def _templates(
    target: Any, flags: dict[str, Any]
) -> tuple[tuple[Template, ...], tuple[float, ...], tuple[str, ...]]:
    """Requests, their weights, and the thresholds that the endpoints' objectives ask for."""
    from loadtest import payloads
    from loadtest.plan import Template
    from loadtest.requests import build_request, parse_header

    headers = (*_auth(flags), *(parse_header(text) for text in flags["headers"]))
    given = [flags[name] is not None for name in ("payload", "body", "replay")]
    if sum(given) > 1:
        raise LoadTestError("expected one of --payload, --body and --replay", at="--payload")
    templates: list[Template] = []
    weights: list[float] = []
    objectives: list[str] = []
    names = [_weighted(text) for text in flags["endpoints"] or ("",)]
    for name, weight in names:
        release = find_release(find_home(flags["home"]), name)
        features = _features(flags["schema"], release)
        rows = payloads.rows(
            payload=flags["payload"], body=flags["body"], replay=flags["replay"],
            features=features, variants=flags["variants"], rules=release.rules if release else None,
        )  # fmt: skip
        bodies = payloads.encode_all(rows, flags["body_format"], flags["batch_rows"], features)
        path = flags["path"] or default_path(name, flags["body_format"])
        for body in bodies:
            data = build_request(
                target, path, body.data, headers=(*headers, *body.headers),
                content_type=body.content_type, keep_alive=not flags["no_keepalive"],
            )  # fmt: skip
            templates.append(Template(data, name, tuple(flags["checks"])))
            weights.append(weight / len(bodies))
        objectives += _objectives(release, name if len(names) > 1 else "")
    return tuple(templates), tuple(weights), tuple(objectives)


def _auth(flags: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {flags['key']}"),) if flags["key"] else ()


def default_path(endpoint: str, body_format: str) -> str:
    """Where an endpoint takes requests of a format."""
    if body_format == "stream":
        return f"/v1/stream/{endpoint}"
    if body_format != "json":
        return f"/v2/models/{endpoint}/infer"
    return f"/v1/predict/{endpoint}" if endpoint else "/v1/predict"


def _features(schema: Path | None, release: ReleaseContent | None) -> FeatureMap | None:
    if schema is None:
        return release.features if release else None
    import msgspec

    from compiler.schema import FeatureMap

    try:
        document = msgspec.json.decode(schema.read_bytes())
        return msgspec.convert(document["features"], FeatureMap)
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror}", at=str(schema)) from None
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise LoadTestError(
            f"expected a JSON document with 'features' ({error})", at=str(schema)
        ) from None


def _objectives(release: ReleaseContent | None, endpoint: str) -> list[str]:
    """An endpoint's objectives as thresholds."""
    if release is None:
        return []
    tag = f"{{endpoint={endpoint}}}" if endpoint else ""
    found = []
    for name, value in release.slo.items():
        if name.startswith("p") and name.endswith("_ms") and name[1:-3].replace(".", "").isdigit():
            found.append(f"{name[:-3]}{tag}<{value:g}ms")
        elif name == "availability":
            found.append(f"goodput{tag}>={value:.6g}")
    return found


def _cpus(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(cpu) for cpu in text.split(",") if cpu)
    except ValueError:
        raise LoadTestError(f"expected cores such as 1 or 2,3, got {text!r}", at="--cpus") from None


def _weighted(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        number = float(weight or 1)
    except ValueError:
        number = -1.0
    if number <= 0:
        raise LoadTestError(f"expected NAME=WEIGHT, got {text!r}", at="--endpoint")
    return name, number
