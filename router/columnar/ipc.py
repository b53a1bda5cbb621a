"""The Arrow stream format from outside: messages cut from bytes, within limits, then decoded.

Everything that a message claims is checked before Arrow looks at it: sizes are bounded, compressed
batches are refused (their size after decompression is only a claim), rows are counted, and a batch
is validated in full before a value of it is read.

Source:
    Arrow columnar format, "IPC Streaming Format" and ``Message.fbs``; FlatBuffers internals.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from router.errors import BodyError, TooLargeError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA, DICTIONARY, BATCH = 1, 2, 3
CONTINUATION = 0xFFFFFFFF
END = struct.pack("<Ii", CONTINUATION, 0)
"""End of a stream."""
MAX_METADATA = 1 << 20
MAX_BODY = 64 << 20
MAX_DICTIONARIES = 64 << 20
MAX_ROWS = 1 << 20
_PREFIX = 8
_DAMAGED = (struct.error, IndexError, ValueError, OverflowError)


class Message(Struct, frozen=True):
    """One encapsulated message.

    Attributes:
        kind: ``SCHEMA``, ``DICTIONARY`` or ``BATCH``.
        raw: prefix, metadata and body.
        dictionary: id of a dictionary.
        delta: a dictionary that continues the one before it.
    """

    kind: int
    raw: bytes
    dictionary: int = 0
    delta: bool = False


class Messages:
    """Cuts a stream into messages as its bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = _PREFIX
        self.ended = False

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that are complete now.

        Raises:
            BodyError: not an Arrow stream, or one with compressed batches.
            TooLargeError: a message beyond the limits.
        """
        self._buffer += chunk
        while not self.ended:
            found = self._next()
            if found is None:
                return
            yield found

    def finish(self) -> None:
        """Check that nothing is cut off.

        Raises:
            BodyError: the last message is not complete.
        """
        if self._buffer and not self.ended:
            raise _damaged("it ends within a message")

    def _next(self) -> Message | None:
        buffer = self._buffer
        if len(buffer) < self._wanted:  # its metadata is read when it begins and when it is whole
            return None
        mark, size = struct.unpack_from("<Ii", buffer)
        if mark != CONTINUATION:
            raise _damaged("a message begins with 0xFFFFFFFF")
        if size == 0:
            self.ended = True
            return None
        if not 0 < size <= MAX_METADATA:
            raise TooLargeError(f"expected at most {MAX_METADATA} bytes of metadata, got {size}")
        if len(buffer) < _PREFIX + size:
            self._wanted = _PREFIX + size
            return None
        try:
            kind, body, dictionary, delta = _read(bytes(buffer[_PREFIX : _PREFIX + size]))
        except _DAMAGED:
            raise _damaged("its metadata cannot be read") from None
        if not 0 <= body <= MAX_BODY:
            raise TooLargeError(
                f"expected messages of at most {MAX_BODY} bytes, got {body}",
                hint="send smaller record batches",
            )
        whole = _PREFIX + size + body
        if len(buffer) < whole:
            self._wanted = whole
            return None
        raw = bytes(memoryview(buffer)[:whole])
        del buffer[:whole]
        self._wanted = _PREFIX
        return Message(kind, raw, dictionary, delta)


def _damaged(why: str) -> BodyError:
    return BodyError(
        f"expected an Arrow stream: {why}",
        code="body.arrow",
        hint="write it with pyarrow.ipc.new_stream, without compression",
    )


class _Table:
    """A FlatBuffers table: fields by their slot."""

    def __init__(self, raw: bytes, place: int) -> None:
        self._raw, self._place = raw, place
        self._fields = place - struct.unpack_from("<i", raw, place)[0]
        if self._fields < 0:
            raise ValueError(place)
        self._size = struct.unpack_from("<H", raw, self._fields)[0]

    def find(self, slot: int) -> int:
        """Place of a field; 0 when it is left out."""
        at = 4 + 2 * slot
        if at + 2 > self._size:
            return 0
        offset: int = struct.unpack_from("<H", self._raw, self._fields + at)[0]
        return self._place + offset if offset else 0

    def number(self, slot: int, layout: str) -> int:
        """A number; 0 when it is left out."""
        at = self.find(slot)
        return int(struct.unpack_from(layout, self._raw, at)[0]) if at else 0

    def table(self, slot: int) -> _Table:
        """A table."""
        at = self.find(slot)
        if not at:
            raise ValueError(slot)
        return _Table(self._raw, at + struct.unpack_from("<I", self._raw, at)[0])


def _read(metadata: bytes) -> tuple[int, int, int, bool]:
    """Kind, bytes of the body, id of a dictionary, whether it is a delta.

    Raises:
        BodyError: another kind of message, or a compressed batch.
    """
    message = _Table(metadata, struct.unpack_from("<I", metadata)[0])
    kind, body = message.number(1, "<B"), message.number(3, "<q")
    if kind == SCHEMA:
        return kind, body, 0, False
    if kind not in {DICTIONARY, BATCH}:
        raise _damaged(f"messages of kind {kind} are not served")
    header = message.table(2)
    batch = header.table(1) if kind == DICTIONARY else header
    if batch.find(3):
        raise _damaged("compressed batches are not served")
    if not 0 <= batch.number(0, "<q") <= MAX_ROWS:
        raise TooLargeError(f"expected batches of at most {MAX_ROWS} rows")
    if kind == BATCH:
        return kind, body, 0, False
    return kind, body, header.number(0, "<q"), bool(header.number(2, "<B"))


class BatchReader:
    """Batches of a stream, from its messages.

    Attributes:
        schema: of the stream; None before its first message.
    """

    def __init__(self) -> None:
        self.schema: pa.Schema | None = None
        self._first = b""
        self._dictionaries: dict[int, list[bytes]] = {}

    def take(self, message: Message) -> pa.RecordBatch | None:
        """The batch of a message; None for one that prepares others.

        Raises:
            BodyError: what it holds is not what Arrow expects.
            TooLargeError: dictionaries beyond the limit.
        """
        import pyarrow as pa

        try:
            if message.kind == SCHEMA:
                if self.schema is not None:
                    raise _damaged("it has two schemas")
                schema = pa.ipc.read_schema(pa.py_buffer(message.raw))
                if len({field.name for field in schema}) != len(schema):
                    raise _damaged("a column comes twice")
                self.schema, self._first = schema, message.raw
                return None
            if self.schema is None:
                raise _damaged("it begins without a schema")
            if message.kind == DICTIONARY:
                self._keep(message)
                return None
            return self._batch(message)
        except UnicodeDecodeError:
            raise _damaged("a name is not UTF-8") from None
        except (pa.ArrowException, OSError) as error:
            words = str(error).partition("\n")[0][:200]
            raise _damaged(words) from None

    def _keep(self, message: Message) -> None:
        known = self._dictionaries.setdefault(message.dictionary, [])
        if not message.delta:
            known.clear()
        known.append(message.raw)
        if sum(len(raw) for each in self._dictionaries.values() for raw in each) > MAX_DICTIONARIES:
            raise TooLargeError(f"expected dictionaries of at most {MAX_DICTIONARIES} bytes")

    def _batch(self, message: Message) -> Any:
        import pyarrow as pa

        dictionaries = [raw for each in self._dictionaries.values() for raw in each]
        stream = b"".join((self._first, *dictionaries, message.raw, END))
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            batch = reader.read_next_batch()
        batch.validate(full=True)
        return batch
