"""Requests of the Open Inference Protocol that look like one that came before.

A client says the same of its tensors in every one-row request: names, shapes, datatypes, their
order. Only values differ. The text between the values is therefore kept as a template: a later
request whose text between its values is the same, byte for byte, has the same meaning, and its
values are put where those of the first one were. Everything else takes the general way, which also
decides what becomes a template, and words every refusal.

    {"id":"7","inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[5]}],"outputs":[...]}
    `-- frame -'        `------------------ template, value, template ------'  `--- frame ----'

Why this is sound: a template was once a whole request that the general way understood. Exchanging a
JSON scalar for another JSON scalar changes no structure, so equal text around them parses equally.
The frame (id, parameters, wanted outputs) is decoded each time it is new.
"""

from __future__ import annotations

import re
import secrets
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from compiler.errors import AppError
from router.release.spec import ReleaseContent
from router.wire.native import Row
from router.wire.v2 import InferRequest, InputTensor, decode_request, shared_row
from router.wire.v2_answer import Writer, choose_outputs, one_writer
from router.wire.v2_fill import Fill, fill_binary, fill_json
from router.wire.v2_shapes import V2Plan

MOST = 64
"""Templates and frames that are kept of an endpoint; the oldest makes room."""
MOST_SEEN = 256
MAX_TEMPLATE = 1 << 16
MAX_FRAME = 1 << 12

_SCALAR = (
    rb'("[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)'
)
VALUE = re.compile(rb'"data":\s*\[\s*' + _SCALAR)
"""The first value of a tensor in JSON."""
SIZE = re.compile(
    rb'"datatype":\s*"BYTES",\s*"parameters":\s*\{\s*"binary_data_size":\s*(0|[1-9][0-9]{0,9})'
)
"""The size of a binary text; that of a number is part of its template."""
_INPUTS = re.compile(rb'"inputs":\s*\[')
_CLOSED = re.compile(rb"\}\s*\]")
_MARK = secrets.token_hex(8)
"""Stands for the inputs within a frame; nobody outside knows it."""
_STAND_IN = b'"inputs":[{"name":"%b","shape":[],"datatype":""}]' % _MARK.encode()

Parts = tuple[list[bytes], list[bytes], bytes, bytes]
"""Text around the values, values, what stands before and behind the inputs."""
_K = TypeVar("_K")
_V = TypeVar("_V")


class Frame(Struct, frozen=True):
    """What a request says besides its inputs.

    Attributes:
        row: what it says about every row, without features.
        write: what writes its answer.
    """

    row: Row
    write: Writer


class _Inputs(Struct):
    inputs: list[Raw]


_inputs = msgspec.json.Decoder(_Inputs).decode


class Known:
    """Templates of one endpoint on one worker.

    Args:
        content: of the endpoint.
        plan: its tensors.
    """

    def __init__(self, content: ReleaseContent, plan: V2Plan) -> None:
        self._content = content
        self._plan = plan
        self._fills: dict[bytes, Fill] = {}
        self._frames: dict[tuple[bytes, bytes], Frame] = {}
        self._seen: dict[int, None] = {}

    def find(self, body: bytes, json_bytes: int | None) -> tuple[Row, Frame] | None:
        """The only row of a request; None when it has to take the general way.

        Args:
            body: as it came.
            json_bytes: length of its JSON part, None when it is all of it.
        """
        header, tail = _cut(body, json_bytes)
        texts, values, before, behind = _parts(header, json_bytes)
        fill = self._fills.get(b"\0".join(texts))
        if fill is None:
            return None
        features = fill(values, tail)
        if features is None:
            return None
        frame = self._frames.get((before, behind)) or self._frame(before, behind)
        return None if frame is None else (_row(frame, features), frame)

    def learn(self, body: bytes, json_bytes: int | None, call: InferRequest, row: Row) -> None:
        """Keep the template of a request that the general way read as one row.

        Only when it comes for the second time: what never comes again is not worth its room.
        """
        header, tail = _cut(body, json_bytes)
        if len(header) > MAX_TEMPLATE or b"\\" in header:
            return
        parts = _parts(header, json_bytes)
        texts, values, before, behind = parts
        template = b"\0".join(texts)
        if hash(template) not in self._seen:
            _keep(self._seen, hash(template), None, MOST_SEEN)
            return
        fill = self._fill(call, header, parts, binary=json_bytes is not None)
        frame = self._frame(before, behind)
        if fill is None or frame is None:
            return
        features = fill(values, tail)
        if features is not None and _row(frame, features) == row:
            _keep(self._fills, template, fill, MOST)

    def _fill(
        self, call: InferRequest, header: bytes, parts: Parts, *, binary: bool
    ) -> Fill | None:
        """What puts values in their places; None unless every tensor has exactly one of them."""
        pattern, word = (SIZE, b'"binary_data_size"') if binary else (VALUE, b'"data"')
        raws = [bytes(raw) for raw in _inputs(header).inputs]
        variable = 0
        for tensor, raw in zip(call.inputs, raws, strict=True):
            column = self._plan.columns.get(tensor.name)
            expected = tensor.datatype == "BYTES" or not binary
            if column is None or raw.count(word) != 1:
                return None
            if len(pattern.findall(raw)) != expected or _is_binary(tensor) != binary:
                return None
            variable += expected
        if variable != len(parts[1]):
            return None
        columns = [self._plan.columns[tensor.name] for tensor in call.inputs]
        if not binary:
            return fill_json(columns)
        return fill_binary(columns, [tensor.datatype for tensor in call.inputs])

    def _frame(self, before: bytes, behind: bytes) -> Frame | None:
        """What a request says besides its inputs; None when the general way has to say it."""
        try:
            call = decode_request(before + _STAND_IN + behind)
            if len(call.inputs) != 1 or call.inputs[0].name != _MARK:
                return None  # inputs come twice, or not at the top
            row = shared_row(call.parameters)
            if call.id:
                row.id = str(call.id)
            chosen = choose_outputs(call, self._plan)
        except AppError:
            return None
        frame = Frame(row, one_writer(call, self._content, chosen))
        if len(before) + len(behind) <= MAX_FRAME:
            _keep(self._frames, (before, behind), frame, MOST)
        return frame


def _cut(body: bytes, json_bytes: int | None) -> tuple[bytes, bytes]:
    return (body, b"") if json_bytes is None else (body[:json_bytes], body[json_bytes:])


def _parts(header: bytes, json_bytes: int | None) -> Parts:
    pieces = (VALUE if json_bytes is None else SIZE).split(header)
    texts = pieces[::2]
    start = _INPUTS.search(texts[0])
    at = 0 if start is None else start.start()
    before, texts[0] = texts[0][:at], texts[0][at:]
    end = texts[-1].find(b"}]") + 2
    if end == 1 and (closed := _CLOSED.search(texts[-1])) is not None:
        end = closed.end()
    behind, texts[-1] = texts[-1][end:], texts[-1][:end]
    return texts, pieces[1::2], before, behind


def _row(frame: Frame, features: bytes) -> Row:
    shared = frame.row
    return Row(
        Raw(features),
        shared.id,
        shared.subject,
        shared.split_id,
        shared.context,
        shared.explain,
        shared.timeout_ms,
    )


def _is_binary(tensor: InputTensor) -> bool:
    return tensor.data is UNSET


def _keep(where: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Keep a value; the one that has been there longest makes room."""
    if key not in where and len(where) >= most:
        del where[next(iter(where))]
    where[key] = value
