"""Keeps a host's health between two lives of the agent: one JSON file, replaced whole. It judges nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class HealthFile(Generic[T]):
    """Port `Shelf`. What cannot be read is moved aside, not overwritten."""

    def __init__(self, path: Path, shape: type[T]) -> None:
        self._path = path
        self._shape = shape

    def load(self) -> tuple[T, str]:
        """What was kept, and why it could not be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._shape), ""
        except FileNotFoundError:
            return self._shape(), ""
        except (OSError, msgspec.MsgspecError) as error:
            aside = self._path.with_suffix(".damaged")
            try:
                self._path.replace(aside)
            except OSError as second:
                return self._shape(), f"{self._path}: {error}; it cannot be moved aside: {second}"
            return (
                self._shape(),
                f"{self._path}: {error}; the health begins anew, the file is kept as {aside}",
            )

    def save(self, kept: T) -> str:
        """Durable when it returns; why not, where it is not."""
        half = self._path.with_suffix(".half")
        try:
            with half.open("wb") as file:
                file.write(msgspec.json.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            half.replace(self._path)
        except OSError as error:
            return f"{self._path}: {error}"
        return ""
