"""Mends what CRIU (up to 4.2) writes down so that it restores it wrongly: timerfds. It changes nothing else.

One with a period that ran off while its owner stood has no time left until it is read: CRIU would switch it off.
One that was set to a point in time is set anew to a whole second, up to a second too early.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

NAME: Final = "files.img"
HEAD_BYTES: Final = 8
"""Two magic numbers."""
SIZE: Final = struct.Struct("<I")
TIMER: Final = 12
"""criu/images/fdinfo.proto: file_entry.tfd."""
TIMER_FIELDS: Final = {
    "ticks": 5,
    "settime_flags": 6,
    "vsec": 7,
    "vnsec": 8,
    "isec": 9,
    "insec": 10,
}
"""criu/images/timerfd.proto: timerfd_entry, as far as it is looked at. v: until it runs off, i: its period."""
POINT_IN_TIME, CANCEL_ON_SET = 1, 2
"""TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET"""


def _entry_type() -> Any:
    """A file_entry of which only the timer is known; protobuf keeps all other fields as they are."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="segue/criu.proto", package="segue.criu")
    timer, entry = file.message_type.add(name="Timer"), file.message_type.add(name="Entry")
    for name, number in TIMER_FIELDS.items():
        timer.field.add(name=name, number=number, type=field.TYPE_UINT64, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="tfd",
        number=TIMER,
        type=field.TYPE_MESSAGE,
        type_name=".segue.criu.Timer",
        label=field.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("segue.criu.Entry"))


Entry: Final = _entry_type()


def mend(images: Path) -> None:
    """The images of an application that was dumped, before it is restored from them. Raises OSError, ValueError."""
    path = images / NAME
    if not path.exists():
        return
    before = path.read_bytes()
    after = b"".join((before[:HEAD_BYTES], *(_packed(_mended(entry)) for entry in _entries(before))))
    if after != before:
        half = path.with_name(f".{NAME}")
        half.write_bytes(after)
        half.replace(path)


def _mended(entry: bytes) -> bytes:
    """The very same bytes where there is nothing to mend."""
    try:
        message = Entry.FromString(entry)
    except DecodeError as error:
        raise ValueError(f"{NAME} has an entry that nobody understands") from error
    timer = message.tfd
    absolute = bool(timer.settime_flags & POINT_IN_TIME) and not timer.settime_flags & CANCEL_ON_SET
    ran_off = bool(timer.ticks) and not timer.vsec and not timer.vnsec
    if absolute:
        timer.settime_flags &= ~POINT_IN_TIME  # What is written down is the time that was left.
    if ran_off:
        timer.vsec, timer.vnsec = timer.isec, timer.insec
    return bytes(message.SerializeToString()) if absolute or ran_off else entry


def _entries(image: bytes) -> Iterator[bytes]:
    at = HEAD_BYTES
    while at < len(image):
        (size,) = SIZE.unpack_from(image, at)
        at += SIZE.size
        if at + size > len(image):
            raise ValueError(f"{NAME} is cut off")
        yield image[at : at + size]
        at += size


def _packed(entry: bytes) -> bytes:
    return SIZE.pack(len(entry)) + entry
