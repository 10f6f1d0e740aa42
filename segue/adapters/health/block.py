"""Block devices as the kernel sees them: requests and their time, failed requests, RAID members. Judges nothing."""

from __future__ import annotations

from segue.adapters.health.source import Look, Roots, Unseen, disks, folders, text
from segue.model.health import Kind, Part, Sample


class Block:
    """Port `Probe`."""

    name = "block"
    every_s = 30.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._stats = roots.proc / "diskstats"

    def look(self) -> Sample:
        """Counters since the boot of each real disk; of a RAID its missing members."""
        look = Look(self.name)
        real = set(disks(self._roots))
        try:
            self._requests(look, real)
        except Unseen as unseen:
            look.miss(unseen)
        for name in sorted(real):
            path = self._roots.sysfs / "block" / name / "device" / "ioerr_cnt"
            look.file(Part(Kind.DISK, name), "device_errors", path)
        for folder in folders(self._roots.sysfs / "block", "md*"):
            look.file(Part(Kind.DISK, folder.name), "missing_members", folder / "md" / "degraded")
        return look.sample()

    def _requests(self, look: Look, real: set[str]) -> None:
        """Fields: kernel, Documentation/admin-guide/iostats.rst; milliseconds are those of all requests together."""
        for line in text(self._stats).splitlines():
            fields = line.split()
            if len(fields) < 14 or not all(field.isdigit() for field in fields[3:14]):
                raise Unseen(self._stats, f"{line.strip()[:60]!r} is not a disk's line")
            if fields[2] in real:
                part = Part(Kind.DISK, fields[2])
                look.see(part, "ios", int(fields[3]) + int(fields[7]), self._stats)
                look.see(part, "busy_ms", int(fields[6]) + int(fields[10]), self._stats)
