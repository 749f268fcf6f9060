"""Parses requests so that bytes which are no such message become a finding that names the field.

gRPC answers UNKNOWN with a Python exception's text when a deserializer raises; these return `Malformed` instead, or
leave the bytes as they are until it is their turn (`Unparsed`).
The wire format is that of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.wire.weight import LIGHT_BYTES, weigh

M = TypeVar("M", bound=Message)

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
# Where the parser of protobuf gives up.
_PARSER_DEPTH = 100
# How many fields are looked at: reading in Python takes a thousand times as long as refusing did.
_MOST_FIELDS = 10_000


@dataclass(frozen=True, slots=True)
class Malformed(Generic[M]):
    """Bytes that are not a message of the expected type, and why."""

    violation: FieldViolation


def parser(kind: type[M], most_entries: Mapping[str, int] | None = None) -> Callable[[bytes], M | Malformed[M]]:
    """Return the deserializer for requests of this type.

    `most_entries` limits repeated fields of the request, by name. Large requests are weighed before they are parsed.
    """
    parse: Callable[[bytes], M] = kind.FromString
    descriptor = cast(Descriptor, kind.DESCRIPTOR)
    limits = {descriptor.fields_by_name[name].number: most for name, most in (most_entries or {}).items()}

    def deserialize(data: bytes) -> M | Malformed[M]:
        if len(data) > LIGHT_BYTES:
            violation = weigh(data, descriptor, limits)
            if violation is not None:
                return Malformed(violation)
        try:
            return parse(data)
        except DecodeError:
            return Malformed(_diagnose(data, descriptor))

    return deserialize


class Unparsed(Generic[M]):
    """A request that is parsed when somebody looks at it, each time anew."""

    __slots__ = ("_data", "_parse")

    def __init__(self, data: bytes, parse: Callable[[bytes], M | Malformed[M]]) -> None:
        self._data = data
        self._parse = parse

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return len(self._data)

    def message(self) -> M:
        """Return the message. Raises InvalidArgument, which names the field, when the bytes are none."""
        message = self._parse(self._data)
        if isinstance(message, Malformed):
            raise InvalidArgument([message.violation])
        return message


def later(parse: Callable[[bytes], M | Malformed[M]]) -> Callable[[bytes], Unparsed[M]]:
    """Return the deserializer that leaves requests to be parsed by `parse` later."""
    return partial(Unparsed, parse=parse)


class _Bad(Exception):
    def __init__(self, description: str, path: str = "") -> None:
        super().__init__(description)
        self.path = path


def _diagnose(data: bytes, descriptor: Descriptor) -> FieldViolation:
    """Return what is wrong with bytes that the parser refused."""
    try:
        _Walk().message(memoryview(data), descriptor, 1)
    except _Bad as bad:
        return FieldViolation(bad.path or "request", str(bad))
    return FieldViolation("request", f"is not a valid {descriptor.full_name}")


class _Walk:
    """Reads a message field by field, as the parser did, to find where it failed."""

    def __init__(self) -> None:
        self._fields = 0

    def message(self, data: memoryview, descriptor: Descriptor, depth: int) -> None:
        """Raise _Bad at the first field that is not what it should be."""
        position = 0
        counts: dict[int, int] = {}
        while position < len(data) and self._fields < _MOST_FIELDS:
            self._fields += 1
            tag, position = _varint(data, position)
            field = descriptor.fields_by_number.get(tag >> 3)
            value, position = _field_value(data, position, tag & 7)
            if field is None or value is None:
                continue
            name = field.name
            if field.is_repeated and not _is_map_entry(descriptor):
                index = counts[field.number] = counts.get(field.number, -1) + 1
                name = f"{name}[{index}]"
            try:
                self._check(value, field, depth)
            except _Bad as bad:
                raise _Bad(str(bad), _joined(name, bad.path)) from None

    def _check(self, value: memoryview, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None:
            if depth >= _PARSER_DEPTH:
                raise _Bad("is nested too deep")
            self.message(value, field.message_type, depth + 1)
        elif field.type == FieldDescriptor.TYPE_STRING:
            try:
                str(value, "utf-8")
            except UnicodeDecodeError:
                raise _Bad("is not valid UTF-8") from None


def _field_value(data: memoryview, position: int, wire_type: int) -> tuple[memoryview | None, int]:
    """Return a length-delimited field's bytes (None for another kind), and where the next field begins."""
    if wire_type == _VARINT:
        return None, _varint(data, position)[1]
    if wire_type == _LENGTH_DELIMITED:
        length, position = _varint(data, position)
        end = position + length
        if end <= len(data):
            return data[position:end], end
    elif wire_type in (_FIXED64, _FIXED32):
        end = position + (8 if wire_type == _FIXED64 else 4)
        if end <= len(data):
            return None, end
    raise _Bad("is cut short or not protobuf")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Bad("is cut short or not protobuf")


def _is_map_entry(descriptor: Descriptor) -> bool:
    return bool(descriptor.GetOptions().map_entry)


def _joined(name: str, below: str) -> str:
    # A path from the depths of a Struct would be longer than any answer: its beginning says enough.
    return f"{name}.{below}"[:200] if below else name
