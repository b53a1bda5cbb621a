"""One request of each kind before any load, so that a wrong key or payload ends here."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import httptools
import msgspec

from loadtest.checks import build_check, golden_digest
from loadtest.errors import TargetError

if TYPE_CHECKING:
    from loadtest.plan import Plan, Target, Template

_MOST = 32
"""Requests tried per target; further ones of the same endpoint differ only in values."""


class Answer:
    """One complete HTTP answer."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.complete = False
        self.headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, its name in lower case."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True


def exchange(target: Target, data: bytes, timeout_s: float = 5.0) -> Answer:
    """Send one request on a connection of its own and wait for the answer.

    Raises:
        TargetError: nobody listens, no answer in time, or the answer is not HTTP.
    """
    answer = Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        with _connect(target, timeout_s) as stream:
            stream.sendall(data)
            while not answer.complete:
                part = stream.recv(65536)
                if not part:
                    raise TargetError(f"{target.authority} closed the connection without an answer")
                parser.feed_data(part)
    except httptools.HttpParserError as error:
        raise TargetError(
            f"{target.authority} does not answer in HTTP/1.1 ({error})",
            hint="does --url name the data plane, with http or https as it should be?",
        ) from None
    except TimeoutError:
        raise TargetError(f"{target.authority} gave no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise TargetError(
            f"cannot reach {target.authority}: {error.strerror or error}",
            at="--url",
            hint="start it (interlock up), or give its address with --url",
        ) from None
    answer.status = parser.get_status_code()
    return answer


def _connect(target: Target, timeout_s: float) -> socket.socket:
    stream = socket.create_connection((target.host, target.port), timeout=timeout_s)
    if not target.tls:
        return stream
    return ssl.create_default_context().wrap_socket(stream, server_hostname=target.host)


def preflight(plan: Plan) -> Plan:
    """Try the plan's requests once on every target.

    Returns:
        The plan; with golden answers filled in when it asks for them.

    Raises:
        TargetError: with what the target answered and the flag to change.
    """
    for target in plan.targets:
        for template in _different(plan.templates):
            answer = exchange(target, template.data, plan.limits.timeout_s)
            if answer.status not in plan.statuses:
                raise _refused(target, template, answer, plan.statuses)
            check = build_check(template)
            if check and not check(answer.body):
                raise TargetError(
                    f"the answer for endpoint {template.endpoint or '?'} fails its check: "
                    f"{answer.body[:300]!r}",
                    at="--check",
                )
    if not plan.golden:
        return plan
    first = plan.targets[0]
    templates = tuple(
        msgspec.structs.replace(template, golden=golden_digest(exchange(first, template.data).body))
        for template in plan.templates
    )
    return msgspec.structs.replace(plan, templates=templates)


def _different(templates: tuple[Template, ...]) -> list[Template]:
    """A few templates of every endpoint."""
    chosen: dict[str, list[Template]] = {}
    for template in templates:
        some = chosen.setdefault(template.endpoint, [])
        if len(some) < _MOST:
            some.append(template)
    return [template for some in chosen.values() for template in some]


def _refused(
    target: Target, template: Template, answer: Answer, statuses: tuple[int, ...]
) -> TargetError:
    where = f"{target.authority}, endpoint {template.endpoint or 'of the path'}"
    detail = _detail(answer.body)
    said = f"{answer.status} {detail}".strip()
    if answer.status in {401, 403}:
        return TargetError(f"the key is refused: {said}", at=where, hint="give one with --key")
    if answer.status == 404:
        return TargetError(f"no such endpoint: {said}", at=where, hint="check --endpoint or --path")
    if answer.status in {400, 415, 422}:
        return TargetError(
            f"the payload does not fit: {said}", at=where, hint="correct --payload or --schema"
        )
    return TargetError(
        f"expected status {', '.join(map(str, statuses))}, got {said}",
        at=where,
        hint="if that is right, say so with --expect",
    )


def _detail(body: bytes) -> str:
    """What a problem document says, shortened."""
    try:
        document: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:200].decode("utf-8", "replace")
    if not isinstance(document, dict):
        return str(document)[:200]
    text = " ".join(str(document[k]) for k in ("code", "detail", "error") if document.get(k))
    errors = document.get("errors")
    if isinstance(errors, list) and errors:
        parts = [
            " ".join(f"{k} {e[k]}" for k in ("at", "expected", "got") if e.get(k))
            for e in errors[:5]
            if isinstance(e, dict)
        ]
        text += ": " + "; ".join(parts)
    return text[:500]
