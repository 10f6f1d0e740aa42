"""An image of firmware as a file here, and as the body of the request that pushes it to a BMC. It decides nothing.

The BMC never gets the last bytes of anything else than was planned: a file that was changed, and a step that was ended,
leave it with half a request, which no BMC takes for an image.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

from segue.errors import Kind, Refused
from segue.model.firmware import Image

BLOCK: Final = 1 << 20
RAW: Final = "application/octet-stream"


def look(folder: Path, name: str) -> Image:
    """What lies there: read once, from its first byte to its last. Raises Refused, with what is wrong with it.

    folder: nothing outside of it is looked at, whoever asks.
    """
    path = _inside(folder, name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refused(path, "it is no file", Kind.NOT_FOUND)
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise _refused(path, error.strerror or str(error), Kind.NOT_FOUND) from error
    if not size:
        raise _refused(path, "it is empty", Kind.NOT_FOUND)
    return Image(str(path), size, digest.hexdigest())


def _inside(folder: Path, name: str) -> Path:
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder) or path == folder:
        raise _refused(path, f"images of firmware lie in {folder}", Kind.USAGE)
    return path


class Body:
    """Read by the HTTP client while it sends. `whole`: every byte of it was handed out."""

    def __init__(self, image: Image, targets: list[str] | None, ended: threading.Event) -> None:
        """targets: for a multipart push, what it is for; None: the image alone. ended: no byte more is handed out."""
        self._image = image
        self._head, self._tail, self.content_type = _frame(image, targets) if targets else (b"", b"", RAW)
        self._at = 0
        self._digest = hashlib.sha256()
        self._ended = ended
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self._file = Path(self._image.path).open("rb")
        except OSError as error:
            raise self._cut(error.strerror or str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._head) + self._image.size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """The client wants to see that there is one; it reads."""
        while block := self.read(BLOCK):
            yield block

    @property
    def whole(self) -> bool:
        """The BMC may have all of it, and may have begun."""
        return self._at == len(self)

    @property
    def sent(self) -> int:
        """Bytes that were handed out."""
        return self._at

    def read(self, most: int = -1) -> bytes:
        """The next bytes. Raises Refused, and the request stays a half, where it must not go on."""
        if self._ended.is_set():
            raise self._cut("its step was ended")
        most = len(self) if most < 0 else most
        into_file = self._at - len(self._head)
        if into_file < 0:
            found = self._head[self._at : self._at + most]
        elif into_file < self._image.size:
            found = self._from_file(min(most, self._image.size - into_file))
        else:
            into_tail = into_file - self._image.size
            found = self._tail[into_tail : into_tail + most]
        self._at += len(found)
        return found

    def _from_file(self, most: int) -> bytes:
        assert self._file is not None
        try:
            found = self._file.read(most)
        except OSError as error:
            raise self._cut(error.strerror or str(error)) from error
        self._digest.update(found)
        last = self._at - len(self._head) + len(found) == self._image.size
        if not found or (last and self._digest.hexdigest() != self._image.sha256):
            raise self._cut("it was changed meanwhile")
        return found

    def _cut(self, why: str) -> Refused:
        return Refused(
            what=f"{self._image.path} was not pushed: the BMC got less than all of it",
            why=f"{why}, after {self._at} of {len(self)} bytes",
            todo="Look at the file, and begin again.",
            kind=Kind.CONFLICT,
        )


def _frame(image: Image, targets: list[str]) -> tuple[bytes, bytes, str]:
    """What stands around the image, as DSP0266 has it: UpdateParameters first, then UpdateFile."""
    word = f"segue-{image.sha256}"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", Path(image.path).name)
    head = (
        f'--{word}\r\nContent-Disposition: form-data; name="UpdateParameters"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps({'Targets': targets})}\r\n"
        f'--{word}\r\nContent-Disposition: form-data; name="UpdateFile"; filename="{name}"\r\n'
        f"Content-Type: {RAW}\r\n\r\n"
    )
    return head.encode(), f"\r\n--{word}--\r\n".encode(), f"multipart/form-data; boundary={word}"


def _refused(path: Path, why: str, kind: Kind) -> Refused:
    return Refused(
        what=f"{path} cannot be pushed",
        why=f"{path}: {why}",
        todo="Lay the image there, on the host of every controller.",
        kind=kind,
    )
