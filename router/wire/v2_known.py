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
The frame (id, parameters, wanted outputs) is decoded each time it is new. Of a request with binary
data the values are sizes, which the data say as well: the text that belongs to them is written, and
compared as a whole.
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
from router.wire.v2_fill import BinaryFill, Fill, fill_binary, fill_json
from router.wire.v2_shapes import V2Plan

MOST = 64
"""Templates and frames that are kept of an endpoint; the oldest makes room."""
MOST_BINARY = 32
"""Templates of binary requests: they are tried in turn."""
MOST_LEARNED = 256
"""Templates that are ever made of one release: making one costs as much as many requests."""
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

_K = TypeVar("_K")
_V = TypeVar("_V")


class Frame(Struct, frozen=True):
    """What a request says besides its inputs.

    Attributes:
        row: what it says about every row, without features; None when it says nothing.
        write: what writes its answer.
    """

    row: Row | None
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
        self._binary: list[tuple[bytes, BinaryFill]] = []
        self._frames: dict[tuple[bytes, bytes], Frame] = {}
        self._tried: dict[int, bool] = {}
        self._learned = 0

    def find(self, body: bytes, json_bytes: int | None) -> tuple[Row, Frame] | None:
        """The only row of a request; None when it has to take the general way.

        Args:
            body: as it came.
            json_bytes: length of its JSON part, None when it is all of it.
        """
        if json_bytes is not None:
            return self._find_binary(body, json_bytes)
        texts, values = _split(body)
        before, behind = _trim(texts)
        fill = self._fills.get(b"\0".join(texts))
        features = None if fill is None else fill(values)
        return None if features is None else self._found(before, behind, features)

    def _find_binary(self, body: bytes, json_bytes: int) -> tuple[Row, Frame] | None:
        """Likewise, by the templates in turn, the one that fitted last first."""
        start = body.find(b'"inputs":', 0, json_bytes)
        for template in self._binary:
            first, fill = template
            filled = fill(body, json_bytes) if body.startswith(first, start) else None
            if filled is None:
                continue
            features, inputs = filled
            end = start + len(inputs)
            if end > json_bytes or not body.startswith(inputs, start):
                continue
            if template is not self._binary[0]:
                self._binary = [template, *(each for each in self._binary if each is not template)]
            return self._found(body[:start], body[end:json_bytes], features)
        return None

    def _found(self, before: bytes, behind: bytes, features: bytes) -> tuple[Row, Frame] | None:
        frame = self._frames.get((before, behind)) or self._frame(before, behind)
        if frame is None:
            return None
        return (Row(Raw(features)) if frame.row is None else _row(frame.row, features)), frame

    def learn(self, body: bytes, json_bytes: int | None, call: InferRequest, row: Row) -> None:
        """Keep the template of a request that the general way read as one row.

        Only when it comes for the second time: what never comes again is not worth its room. What
        is known, or could not be learned, is not tried again: that is a hundred requests' work.
        """
        header = body if json_bytes is None else body[:json_bytes]
        if len(header) > MAX_TEMPLATE or b"\\" in header:
            return
        binary = json_bytes is not None
        texts, values = _around(header, SIZE) if binary else _split(header)
        before, behind = _trim(texts)
        template = b"\0".join(texts)
        number = hash(template)
        if number not in self._tried:
            _keep(self._tried, number, False, MOST_SEEN)
            return
        if self._tried[number] or self._learned >= MOST_LEARNED:
            return
        self._tried[number] = True
        if not self._is_plain(call, header, len(values), binary=binary):
            return
        self._learned += 1
        columns = [self._plan.columns[tensor.name] for tensor in call.inputs]
        if json_bytes is None:
            features = (fill := fill_json(columns))(values)
            if self._means(before, behind, features, row):
                _keep(self._fills, template, fill, MOST)
            return
        found = fill_binary(columns, [tensor.datatype for tensor in call.inputs], texts)
        filled = None if found is None else found(body, json_bytes)
        if found is None or filled is None or filled[1] not in header:
            return
        if self._means(before, behind, filled[0], row):
            kept = self._binary[: MOST_BINARY - 1]  # without the one that fitted longest ago
            self._binary = [*kept, (texts[0], found)]

    def _means(self, before: bytes, behind: bytes, features: bytes | None, row: Row) -> bool:
        """Whether a template gives the row that the general way gave."""
        found = None if features is None else self._found(before, behind, features)
        return found is not None and found[0] == row

    def _is_plain(self, call: InferRequest, header: bytes, values: int, *, binary: bool) -> bool:
        """Whether every tensor has exactly one of the values that a template leaves open."""
        pattern, word = (SIZE, b'"binary_data_size"') if binary else (VALUE, b'"data"')
        raws = [bytes(raw) for raw in _inputs(header).inputs]
        variable = 0
        for tensor, raw in zip(call.inputs, raws, strict=True):
            expected = tensor.datatype == "BYTES" or not binary
            if tensor.name not in self._plan.columns or raw.count(word) != 1:
                return False
            if len(pattern.findall(raw)) != expected or _is_binary(tensor) != binary:
                return False
            variable += expected
        return variable == values

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
        said = None if row == Row(row.features) else row
        frame = Frame(said, one_writer(call, self._content, chosen))
        if len(before) + len(behind) <= MAX_FRAME:
            _keep(self._frames, (before, behind), frame, MOST)
        return frame


def _split(header: bytes) -> tuple[list[bytes], list[bytes]]:
    """What stands around the values in JSON, without what their pattern demands, and these."""
    pieces = VALUE.split(header)
    return pieces[::2], pieces[1::2]


def _around(header: bytes, pattern: re.Pattern[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Everything but the values that a pattern finds, and these."""
    texts, values, at = [], [], 0
    for found in pattern.finditer(header):
        texts.append(header[at : found.start(1)])
        values.append(found[1])
        at = found.end(1)
    return [*texts, header[at:]], values


def _trim(texts: list[bytes]) -> tuple[bytes, bytes]:
    """Take what stands before and behind the inputs away from the first and the last text."""
    start = _INPUTS.search(texts[0])
    at = 0 if start is None else start.start()
    before, texts[0] = texts[0][:at], texts[0][at:]
    end = texts[-1].find(b"}]") + 2
    if end == 1 and (closed := _CLOSED.search(texts[-1])) is not None:
        end = closed.end()
    behind, texts[-1] = texts[-1][end:], texts[-1][:end]
    return before, behind


def _row(shared: Row, features: bytes) -> Row:
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
