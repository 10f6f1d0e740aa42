"""CRIU's images as far as segue reads them: the entries of one, and messages of which only a few fields are known."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

HEAD_BYTES: Final = 8
"""Two magic numbers."""
SIZE: Final = struct.Struct("<I")
NUMBER: Final = ""
"""The type of a field that holds a number; any other is the name of the message in it."""


def entry_type(messages: Mapping[str, Mapping[str, tuple[int, str]]]) -> Any:
    """The class of the last of these messages: name -> field -> (number, type), with a star behind it for a field that
    comes more than once. Protobuf keeps all other fields."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="segue/criu.proto", package="segue.criu")
    name = ""
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for called, (number, kind) in fields.items():
            holds = {"type": field.TYPE_MESSAGE, "type_name": f".segue.criu.{kind.rstrip('*')}"}
            said = holds if kind != NUMBER else {"type": field.TYPE_UINT64}
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            message.field.add(name=called, number=number, label=label, **said)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"segue.criu.{name}"))


def entries(image: bytes, name: str) -> Iterator[bytes]:
    """What an image consists of. Raises ValueError."""
    at = HEAD_BYTES
    while at < len(image):
        if at + SIZE.size > len(image) or at + SIZE.size + SIZE.unpack_from(image, at)[0] > len(image):
            raise ValueError(f"{name} is cut off")
        (size,) = SIZE.unpack_from(image, at)
        at += SIZE.size
        yield image[at : at + size]
        at += size


def decoded(kind: Any, entry: bytes, name: str) -> Any:
    """An entry as a message of that kind. name: of its image, for people. Raises ValueError."""
    try:
        return kind.FromString(entry)
    except DecodeError as error:
        raise ValueError(f"{name} has an entry that nobody understands") from error


def packed(entry: bytes) -> bytes:
    """An entry as it stands in an image."""
    return SIZE.pack(len(entry)) + entry
