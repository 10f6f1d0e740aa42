"""A process that stands still, with memory of which a test knows what it holds."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from segue.adapters.criu import memory
from segue.model.integrity import PROCESS_SHIFT, Blocks

HOLDS = """
import ctypes, mmap, sys, time
own = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
shared = mmap.mmap(-1, 1 << 16)
for each in own, shared:
    each.write(bytes(range(1, 256)) * (len(each) // 255))
print(*(ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (own, shared)), flush=True)
time.sleep(600)
"""


class Standing:
    """A process that stands, in a folder that looks like its group, and where its memory lies."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.own, self.shared = map(int, self._process.stdout.readline().split())
        self._process.send_signal(signal.SIGSTOP)
        self.pid = self._process.pid
        self.group, self.images = folder / "group", folder / "images"
        self.group.mkdir()
        self.images.mkdir()
        (self.group / "cgroup.procs").write_text(f"{self.pid}\n")
        self.key = next(iter(memory.processes(self.group))) << PROCESS_SHIFT

    def digests(self, at: tuple[int, ...], length: int = 1 << 20) -> tuple[str, ...]:
        return memory.digest(self.group, self.images, Blocks("m", length, at)).values

    def change(self, address: int) -> None:
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as handle:
            handle.seek(address)
            byte = handle.read(1)[0]
            handle.seek(address)
            handle.write(bytes([byte ^ 1]))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
