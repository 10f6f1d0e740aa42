"""Makes a guest's specification from an image of the host's store."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from segue.adapters import chance
from segue.agent import disks, nics
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.policy import crash, identity
from segue.wire.frames import CreateGuest, Storage

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
MACHINE = "pc-q35-10.0"
CPU_MODEL = "Nehalem"
"""The newest model that every x86-64 host of the last 15 years has in full, and that TCG has too."""


@dataclass(frozen=True)
class Image:
    """`image.json` in the image's folder; paths are relative to it."""

    name: str
    kernel: str = ""
    initrd: str = ""
    disk: str = ""
    disk_format: str = "raw"
    cmdline: str = ""
    login: str = ""
    archive: str = ""
    """Of an application: nothing that a machine could start from."""
    services: dict[str, int] = field(default_factory=dict)


def find(services: Services, name: str) -> tuple[Image, Path]:
    """The image and its folder. Raises Refused with the names that there are."""
    store = services.config.images_dir
    path = store / name / "image.json"
    if not NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in store.glob("[!.]*/image.json"))) or "none"
        raise Refused(
            what=f"there is no image {name}",
            why=f"{services.config.name} has these images in {store}: {known}",
            todo="Choose one of them with --image, or put a folder with an image.json there.",
            kind=Kind.NOT_FOUND,
        )
    found = msgspec.json.decode(path.read_bytes(), type=Image)
    if found.archive:
        raise Refused(
            what=f"{name} is no image of a machine",
            why="it is one of an application",
            todo=f"`segue app run --archive {path.parent / found.archive} --name NAME`.",
            kind=Kind.USAGE,
        )
    return found, path.parent


async def specify(services: Services, wish: CreateGuest) -> Guest:
    """The guest that was asked for; its disks are made."""
    check(wish)
    image, folder = find(services, wish.image)
    number = chance.new_id()
    uid = identity.number(number, services.config.qemu_uids, {g.uid for g, _, _ in services.journal.guests()})
    guest = Guest(
        name=wish.name,
        uuid=number,
        memory_bytes=wish.memory_bytes,
        vcpus=wish.vcpus,
        cpu_model=wish.cpu_model or CPU_MODEL,
        machine=MACHINE,
        accelerator=services.capabilities.accelerator,
        kernel=str(folder / image.kernel) if image.kernel else "",
        initrd=str(folder / image.initrd) if image.initrd else "",
        cmdline=" ".join(part for part in (image.cmdline, wish.cmdline) if part),
        uid=uid,
        nics=nics.specify(services.networks, wish),
        watched=wish.watch,
        on_crash=wish.on_crash,
    )
    base = (str(folder / image.disk), image.disk_format) if image.disk else ("", "")
    return replace(guest, disks=await disks.make(services.config, guest, base, wish.storage, wish.disks))


def check(wish: CreateGuest) -> None:
    """Raises Refused for a wish that cannot be meant."""
    problems = []
    if not NAME.fullmatch(wish.name):
        problems.append(f"'{wish.name}' is no name: 1 to 40 small letters, digits and hyphens")
    if not 32 << 20 <= wish.memory_bytes <= 16 << 40:
        problems.append("memory must be between 32 MiB and 16 TiB")
    if not 1 <= wish.vcpus <= 255:
        problems.append("a guest has 1 to 255 vCPUs")
    problems += crash.faults(wish.on_crash)
    local = Storage.LOCAL in {wish.storage, *(disk.storage for disk in wish.disks)}
    if local and crash.goes_elsewhere(wish.on_crash):
        problems.append("what has disks on one host alone is not started elsewhere")
    problems += nics.problems(wish)
    problems += disks.wrong(wish.disks)
    if problems:
        raise Refused(
            what=f"cannot create {wish.name or 'a guest'}",
            why="; ".join(problems),
            todo="Correct what is named here; `segue vm create --help` has examples.",
            kind=Kind.USAGE,
        )
