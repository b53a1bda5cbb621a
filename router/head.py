"""The head of a request, read once by both lanes: what it asks, who asks, how the body comes.

``read_head`` looks at nothing but the bytes of the request line and the headers, so equal heads
give equal results: FastLane keeps the results of heads it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from compiler.errors import AppError
from router.errors import BodyError, KeyMissingError
from router.routes import Route, match

MAX_TRACEPARENT = 128
MAX_ROW_DIGITS = 15
PRINTABLE = frozenset(range(0x20, 0x7F))


class Head:
    """One request without its body.

    Attributes:
        method: such as ``b"POST"``.
        path: decoded path.
        query: raw query.
        route: what answers; None for paths that only the web framework knows.
        endpoint: endpoint in the path, empty when the key decides.
        version: release number in a V2 path.
        token: presented key.
        traceparent: W3C trace context.
        idempotency: the caller's key for repeated requests.
        encoding: content encoding of the body, empty for none.
        json_bytes: ``Inference-Header-Content-Length``.
        timing: ``Server-Timing`` is wanted.
        start_row: number of the first row of a stream that goes on.
        length: announced body bytes, None when chunked or absent.
        size: the same, 0 when chunked or absent.
        bare: the answer has no body (HEAD).
        chunked: the body comes in chunks.
        expect: the client waits for ``100 Continue``.
        accept: what the client would like to read.
        content_type: what the client says it sends.
        error: why the request is refused whatever its body.
        bound: what the head means under the keys and releases of some moment.
    """

    __slots__ = (
        "accept",
        "bare",
        "bound",
        "chunked",
        "content_type",
        "encoding",
        "endpoint",
        "error",
        "expect",
        "idempotency",
        "json_bytes",
        "length",
        "method",
        "path",
        "query",
        "route",
        "size",
        "start_row",
        "timing",
        "token",
        "traceparent",
        "version",
    )

    def __init__(self, method: bytes, path: str, query: bytes) -> None:
        self.method = method
        self.bare = method == b"HEAD"
        self.size = 0
        self.path = path
        self.query = query
        self.route: Route | None = None
        self.endpoint = ""
        self.version = ""
        self.token: bytes | None = None
        self.traceparent: str | None = None
        self.idempotency: str | None = None
        self.encoding = b""
        self.json_bytes: int | None = None
        self.timing = False
        self.start_row = 0
        self.length: int | None = None
        self.chunked = False
        self.expect = False
        self.accept = b""
        self.content_type = b""
        self.error: AppError | None = None
        self.bound: Any = None

    @property
    def has_body(self) -> bool:
        """Whether any body bytes follow the head."""
        return self.chunked or bool(self.length)

    @property
    def is_fast(self) -> bool:
        """Whether a plain function answers it."""
        return self.route is not None and self.route.fast and self.idempotency is None

    @property
    def streams(self) -> bool:
        """Whether the body has no bound."""
        return self.route is not None and self.route.streams

    @property
    def repeats(self) -> bool:
        """Whether later requests may carry the very same head."""
        return self.traceparent is None and self.idempotency is None and not self.chunked


def read_head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Head:
    """The head of a request from its parsed parts.

    Args:
        method: upper case.
        target: as in the request line; absolute form is accepted.
        headers: (lower-case name, value) pairs in order.
    """
    raw_path, query = split_target(target)
    path = unquote(raw_path.decode("latin-1")) if b"%" in raw_path else raw_path.decode("latin-1")
    head = Head(method, path, query)
    head.route, head.endpoint, head.version = match(method, path)
    hosts = 0
    for name, value in headers:
        if name == b"content-length":
            head.length = int(value) if value.isdigit() else None
            head.size = head.length or 0
        elif name == b"transfer-encoding":
            head.chunked = True
            if value.strip().lower() != b"chunked":
                head.error = BodyError(
                    "expected transfer-encoding chunked, got another coding",
                    code="http.transfer_encoding",
                )
        elif name == b"host":
            hosts += 1
        elif name in _READERS:
            _READERS[name](head, value)
    if hosts > 1:
        head.error = BodyError("expected one Host header, got several", code="http.host")
    return head


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target.

    >>> split_target(b"http://h:1/a/b?c=d")
    (b'/a/b', b'c=d')
    """
    target = target.partition(b"#")[0]
    if not target.startswith(b"/"):
        scheme, found, rest = target.partition(b"://")
        if found and scheme:
            target = b"/" + rest.partition(b"/")[2] if b"/" in rest else b"/"
    path, _, query = target.partition(b"?")
    return path, query


def _authorization(head: Head, value: bytes) -> None:
    scheme, _, token = value.strip().partition(b" ")
    if scheme.lower() == b"bearer" and token:
        head.token = token.strip()
    elif head.token is None:
        head.error = KeyMissingError(
            "expected `Authorization: Bearer ilk_...`, got another scheme", code="key.scheme"
        )


def _api_key(head: Head, value: bytes) -> None:
    if head.token is None:
        head.token = value.strip()
    if isinstance(head.error, KeyMissingError):
        head.error = None


def _traceparent(head: Head, value: bytes) -> None:
    if len(value) <= MAX_TRACEPARENT and PRINTABLE.issuperset(value):
        head.traceparent = value.decode("ascii")


def _idempotency(head: Head, value: bytes) -> None:
    head.idempotency = value.strip().decode("latin-1")


def _encoding(head: Head, value: bytes) -> None:
    head.encoding = b"" if value.strip().lower() == b"identity" else value.strip().lower()


def _json_bytes(head: Head, value: bytes) -> None:
    if not value.strip().isdigit():
        head.error = BodyError(
            "expected a number of bytes", code="body.shape", at="Inference-Header-Content-Length"
        )
    else:
        head.json_bytes = int(value)


def _timing(head: Head, value: bytes) -> None:
    head.timing = value.strip() not in (b"", b"0")


def _start_row(head: Head, value: bytes) -> None:
    word = value.strip()
    if not word.isdigit() or len(word) > MAX_ROW_DIGITS:
        head.error = BodyError(
            "expected the number of the first row", code="body.shape", at="X-Start-Row"
        )
    else:
        head.start_row = int(word)


def _expect(head: Head, value: bytes) -> None:
    head.expect = value.strip().lower() == b"100-continue"


def _accept(head: Head, value: bytes) -> None:
    head.accept = value.strip().lower()


def _content_type(head: Head, value: bytes) -> None:
    head.content_type = value.strip().lower()


_READERS = {
    b"authorization": _authorization,
    b"x-api-key": _api_key,
    b"traceparent": _traceparent,
    b"idempotency-key": _idempotency,
    b"content-encoding": _encoding,
    b"inference-header-content-length": _json_bytes,
    b"x-server-timing": _timing,
    b"x-start-row": _start_row,
    b"expect": _expect,
    b"accept": _accept,
    b"content-type": _content_type,
}
