"""libvirt as a peer: Debian's own, in the lab's hosts; one guest, moved by `virsh migrate` in several ways."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import disk, virt_domain, virt_hosted
from bench.events import Seen
from bench.moves import DEADLINE_S, Move, stayed
from segue.adapters.qemu.monitor import Monitor, QemuGone
from segue.lab.api import Lab
from segue.model.guest import Guest

PACKAGES: Final = ("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients")
"""Debian's packages that a host needs beyond those of the lab."""
DEFAULT_LIMIT_MS: Final = 300
COPY_DISKS: Final = ("--copy-storage-all",)
VIRSH_S: Final = 30.0
LOOK_AGAIN_S: Final = 0.01


@dataclass(frozen=True)
class Variant:
    """How `virsh migrate` is called, and the downtime that is asked for before."""

    name: str
    flags: tuple[str, ...] = ()
    downtime_limit_ms: int = DEFAULT_LIMIT_MS


class VirtGuest:
    """The guest that all variants of libvirt move."""

    def __init__(self, lab: Lab, guest: Guest, host: str) -> None:
        self.lab = lab
        self.guest = guest
        self.host = host
        for each in guest.disks:
            disk.make(lab, host, each.path)
            disk.fill(lab, host, each.path)
        text = virt_domain.describe(guest)
        done = lab.exec(host, ["virsh", "create", "/dev/stdin"], input=text)
        if done.returncode:
            raise RuntimeError(f"libvirt does not start its guest on {host}: {done.stderr}")

    @property
    def address(self) -> str:
        """Where a client reaches it."""
        return self.guest.nics[0].address.partition("/")[0]

    def monitor(self, host: str) -> Monitor:
        """The second monitor of its QEMU on `host`."""
        inside = Path(virt_domain.MONITOR.format(name=self.guest.name))
        return Monitor(
            f"libvirt on {host}", self.lab.agent_socket(host).parent / inside.relative_to("/run/segue")
        )

    def virsh(self, host: str, *words: str) -> str:
        """One short command."""
        done = self.lab.exec(host, ["virsh", *words], timeout=VIRSH_S)
        if done.returncode:
            raise RuntimeError(f"virsh {' '.join(words)} on {host}: {done.stderr.strip()}")
        return done.stdout


def start_daemon(lab: Lab, host: str) -> None:
    """libvirtd on `host`; a second call finds it running."""
    if lab.exec(host, ["virsh", "version"]).returncode == 0:
        return
    done = lab.exec(host, ["/usr/bin/python3", "-P", "-"], input=Path(virt_hosted.__file__).read_text())
    if done.returncode:
        raise RuntimeError(f"libvirt does not start on {host}: {done.stderr}{done.stdout}")


class Virt:
    """One variant."""

    def __init__(self, guest: VirtGuest, variant: Variant) -> None:
        self.name = variant.name
        self._guest = guest
        self._variant = variant

    @property
    def guest_name(self) -> str:
        """See bench/moves.py."""
        return self._guest.guest.name

    @property
    def address(self) -> str:
        """See bench/moves.py."""
        return self._guest.address

    @property
    def host(self) -> str:
        """See bench/moves.py."""
        return self._guest.host

    def move(self, to: str) -> Move:
        """See bench/moves.py. Outside of the measured time the limit is set and the target's disks are made."""
        name, lab = self._guest.guest.name, self._guest.lab
        self._guest.virsh(self.host, "migrate-setmaxdowntime", name, str(self._variant.downtime_limit_ms))
        for each in self._guest.guest.disks:
            disk.make(lab, to, each.path)
        move = asyncio.run(self._move(to))
        for each in self._guest.guest.disks:
            disk.remove(lab, self.host if move.moved else to, each.path)
        if move.moved:
            self._guest.host = to
            move.details["job"] = _job(self._guest.virsh(to, "domjobinfo", name, "--completed"))
        return move

    async def _move(self, to: str) -> Move:
        source = self._guest.monitor(self.host)
        await source.connect()
        seen = Seen(source)
        begun_s = time.time()
        process = await self._start(to)
        listening = asyncio.create_task(self._listen(to, seen))
        errors = await self._wait(process)
        ended_s = time.time()
        await source.close()
        if process.returncode:
            listening.cancel()
            return self._stayed(begun_s, ended_s, errors)
        target = await listening
        await target.until(lambda: seen.resumed_at_s > 0, within_s=VIRSH_S)
        await target.close()
        return Move(begun_s, seen.stopped_at_s, seen.resumed_at_s, ended_s, {"marks": seen.marks})

    async def _start(self, to: str) -> asyncio.subprocess.Process:
        copy = COPY_DISKS if self._guest.guest.disks else ()
        words = [*self._variant.flags, *copy, self._guest.guest.name, f"qemu+tcp://{to}/system"]
        command, environ = self._guest.lab.command(self.host, ["virsh", "migrate", "--live", *words])
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *command, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    async def _listen(self, to: str, seen: Seen) -> Monitor:
        """The monitor exists as soon as libvirt has started the target's QEMU, and nobody says when that is."""
        deadline = time.monotonic() + DEADLINE_S + VIRSH_S
        while True:
            target = self._guest.monitor(to)
            target.on_event(seen.at_target)
            try:
                await target.connect()
            except QemuGone:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            return target

    async def _wait(self, process: asyncio.subprocess.Process) -> str:
        """What virsh complained of; a copy that does not converge is ended at the deadline."""
        talking = asyncio.create_task(process.communicate())
        done, _ = await asyncio.wait({talking}, timeout=DEADLINE_S)
        if not done:
            name = self._guest.guest.name
            await asyncio.to_thread(self._guest.lab.exec, self.host, ["virsh", "domjobabort", name])
        async with asyncio.timeout(VIRSH_S):
            return (await talking)[1].decode().strip()

    def _stayed(self, begun_s: float, ended_s: float, errors: str) -> Move:
        """Not moved in time is a sample; a guest that is not where it was is an error."""
        state = self._guest.virsh(self.host, "domstate", self._guest.guest.name).strip()
        if state != "running" or ended_s - begun_s < DEADLINE_S:
            raise RuntimeError(f"{self.name} did not move its guest, which is {state}: {errors}")
        return stayed(begun_s, ended_s, errors)


def _job(text: str) -> dict[str, str]:
    """libvirt's own account."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): " ".join(value.split()) for name, _, value in pairs}


def version(lab: Lab, host: str) -> str:
    """libvirt's own."""
    words = lab.exec(host, ["virsh", "version"]).stdout.splitlines()
    return next((line.split()[-1] for line in words if line.startswith("Using library")), "")
