"""The kernel's log by /dev/kmsg: counts messages that speak of broken parts. It keeps no text, and judges nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Final

from segue.adapters.health.source import Look, Roots, Totals, Unseen, disks, whole_disk
from segue.model.health import Kind, Part, Sample

RECORD_BYTES: Final = 8_192
"""The kernel gives one whole record for each read, if there is room for it."""
READS_MOST: Final = 1_000_000
"""Of one look, more than the largest ring has: half of an old ring at the next look would seem to have happened now."""
KERNEL: Final = 0
"""The facility of the kernel's own messages: programs may write to the log too, and are not believed."""
RECORD: Final = re.compile(r"(\d+),(\d+),(\d+),[^;]*;(.*)")
LOG: Final = Part(Kind.KERNEL, "log")
PAGES: Final = Part(Kind.MEMORY, "pages")
ALWAYS: Final = ("hung_tasks", "bugs", "lockups")
FOLLOWS: Final = "follows"
"""A second line about the same bug, if one came within AT_ONCE_US before it; else a bug itself."""
AT_ONCE_US: Final = 2_000_000
ECC: Final = {
    "single-bit ECC": "log_corrected",
    "single-symbol chipkill ECC": "log_corrected",
    "scrub corrected error": "log_corrected",
    "multi-bit ECC": "log_uncorrected",
    "multi-symbol chipkill ECC": "log_uncorrected",
    "scrub uncorrected error": "log_uncorrected",
}
"""What firmware that takes memory errors for itself reports (drivers/firmware/efi/cper.c)."""
Maker = Callable[[re.Match[str]], Part]


def _disk(found: re.Match[str]) -> Part:
    return Part(Kind.DISK, whole_disk(found["disk"]))


def _file_system(found: re.Match[str]) -> Part:
    return Part(Kind.STORAGE, found["at"])


def _module(found: re.Match[str]) -> Part:
    """The kernel names all that it may have been, or none."""
    label = found["label"].strip()
    return Part(Kind.MEMORY, "unknown" if label.lower() in {"any memory", "unknown memory"} else label)


def _log(found: re.Match[str]) -> Part:
    return LOG


MESSAGES: Final[tuple[tuple[re.Pattern[str], str, Maker], ...]] = (
    (re.compile(r"INFO: task .+ blocked( in I/O wait)? for more than \d+ seconds"), "hung_tasks", _log),
    (
        re.compile(
            r"(watchdog: )?BUG: soft lockup|rcu: INFO: rcu_\w+ (self-)?detected|NMI watchdog: .*hard LOCKUP"
        ),
        "lockups",
        _log,
    ),
    (re.compile(r"BUG: |kernel BUG at "), "bugs", _log),
    (re.compile(r"Oops: |Oops\[|general protection fault|Kernel panic"), FOLLOWS, _log),
    (re.compile(r"critical medium error, dev (?P<disk>[\w-]+), "), "medium_errors", _disk),
    (
        re.compile(
            r"(I/O|critical target|critical nexus|timeout|protection) error, dev (?P<disk>[\w-]+), sector"
        ),
        "io_errors",
        _disk,
    ),
    (
        re.compile(r"nvme (?P<disk>nvme\d+): (I/O .*timeout|controller is down)"),
        "io_errors",
        lambda found: Part(Kind.DISK, found["disk"] + "n1"),
    ),
    (
        re.compile(r"(EXT4-fs|BTRFS) (error|critical) \(device (?P<at>[\w-]+)\)"),
        "file_system_errors",
        _file_system,
    ),
    (
        re.compile(
            r"XFS \((?P<at>[\w-]+)\): .*(corruption|I/O error|shut ?down|shutting down)", re.IGNORECASE
        ),
        "file_system_errors",
        _file_system,
    ),
    (re.compile(r"EDAC \S+: (?P<count>\d+) CE .+? on (?P<label>.+?) \("), "log_corrected", _module),
    (re.compile(r"EDAC \S+: \d+ UE .+? on (?P<label>.+?) \("), "log_uncorrected", _module),
    *(
        (
            re.compile(r"\[Hardware Error\]:\s+error_type: \d+, " + re.escape(kind)),
            signal,
            lambda found: Part(Kind.MEMORY, "firmware"),
        )
        for kind, signal in ECC.items()
    ),
    (re.compile(r"Memory failure: 0x[0-9a-f]+: recovery action for"), "memory_failures", lambda found: PAGES),
    (
        re.compile(r"NETDEV WATCHDOG: (CPU: \d+: )?(?P<nic>\S+?):? (\(\S+\): )?transmit queue"),
        "transmit_timeouts",
        lambda found: Part(Kind.NIC, found["nic"]),
    ),
)
"""The first that fits counts. The texts are the kernel's: kernel/hung_task.c, kernel/watchdog.c, block/blk-core.c,
drivers/edac, mm/memory-failure.c, net/sched/sch_generic.c."""


class Kmsg:
    """Port `Probe`. It goes on where its last look ended; an agent that was restarted counts the whole ring again."""

    name = "kmsg"
    every_s = 30.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._totals = Totals()
        self._fd = -1
        self._last = -1
        self._bug_us = -AT_ONCE_US
        for signal in ALWAYS:
            self._totals.add(LOG, signal, 0)
        self._totals.add(PAGES, "memory_failures", 0)

    def look(self) -> Sample:
        """All messages since the ring's begin or the agent's start."""
        look = Look(self.name)
        for disk in disks(self._roots):
            for signal in ("io_errors", "medium_errors"):
                self._totals.add(Part(Kind.DISK, disk), signal, 0)
        try:
            self._open()
            garbage = sum(not self._take(line) for line in self._lines())
            if garbage:
                look.miss(Unseen(self._roots.kmsg, f"{garbage} lines of it are no records of the kernel"))
        except OSError as error:
            self._close()
            look.miss(Unseen(self._roots.kmsg, str(error.strerror or error)))
        self._totals.tell(look, self._roots.kmsg)
        return look.sample()

    def _open(self) -> None:
        """A file in its place that was made anew or cut is read from its start."""
        there = os.stat(self._roots.kmsg)
        if self._fd >= 0:
            ours = os.fstat(self._fd)
            cut = stat.S_ISREG(ours.st_mode) and ours.st_size < os.lseek(self._fd, 0, os.SEEK_CUR)
            if (ours.st_ino, ours.st_dev) == (there.st_ino, there.st_dev) and not cut:
                return
            self._close()
        self._fd = os.open(self._roots.kmsg, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._last = -1, -1

    def _lines(self) -> Iterator[str]:
        """New lines; those that begin with a space belong to the record before, as its fields."""
        rest = b""
        for _ in range(READS_MOST):
            try:
                chunk = os.read(self._fd, RECORD_BYTES)
            except BlockingIOError:
                break
            except (
                BrokenPipeError
            ):  # Records were overwritten before we came: the next one is the oldest left.
                continue
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole if line and not line.startswith(b" "))
        if rest:  # Half a line of a file that is being written: it is read whole the next time.
            os.lseek(self._fd, -len(rest), os.SEEK_CUR)

    def _take(self, line: str) -> bool:
        """Counts one record; False for what is none."""
        record = RECORD.fullmatch(line)
        if record is None:
            return False
        number = int(record[2])
        if number > self._last and int(record[1]) >> 3 == KERNEL:
            for pattern, signal, part in MESSAGES:
                if found := pattern.search(record[4]):
                    self._count(part(found), signal, found, int(record[3]))
                    break
        self._last = max(self._last, number)
        return True

    def _count(self, part: Part, signal: str, found: re.Match[str], at_us: int) -> None:
        if signal == FOLLOWS:
            if 0 <= at_us - self._bug_us < AT_ONCE_US:
                return
            signal = "bugs"
        if signal == "bugs":
            self._bug_us = at_us
        self._totals.add(part, signal, float(found.groupdict().get("count") or 1))
