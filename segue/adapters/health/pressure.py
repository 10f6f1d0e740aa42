"""Pressure stall information: how much of the time work waits for memory, storage or a processor. Judges nothing."""

from __future__ import annotations

from pathlib import Path

from segue.adapters.health.source import Look, Roots, Unseen, text
from segue.model.health import Kind, Part, Sample

WANTED = (("memory", "full"), ("io", "full"), ("cpu", "some"))


class Pressure:
    """Port `Probe`."""

    name = "pressure"
    every_s = 60.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._folder = roots.proc / "pressure"

    def look(self) -> Sample:
        """The averages of the last minute, in percent."""
        look = Look(self.name)
        for resource, share in WANTED:
            path = self._folder / resource
            try:
                look.see(Part(Kind.PRESSURE, resource), f"{resource}_{share}", average(path, share), path)
            except Unseen as unseen:
                look.miss(unseen)
        return look.sample()


def average(path: Path, share: str) -> float:
    """avg60 of the line `some` or `full`: kernel, Documentation/accounting/psi.rst. Raises Unseen."""
    for line in text(path).splitlines():
        words = line.split()
        if words and words[0] == share:
            fields = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            try:
                return float(fields["avg60"])
            except (KeyError, ValueError) as error:
                raise Unseen(path, f"{line[:60]!r} has no avg60") from error
    raise Unseen(path, f"it has no line `{share}`")
