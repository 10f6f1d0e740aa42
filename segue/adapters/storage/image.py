"""Disk images by qemu-img: what one is, and a new empty one like another."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from segue.adapters.qemu.identity import Identity
from segue.adapters.storage import files
from segue.errors import Aborted, Refused
from segue.model.guest import Disk
from segue.model.storage import DiskFile, Layer

QEMU_IMG = "qemu-img"


async def describe(disk: Disk) -> DiskFile:
    """The disk's file and those below it; also while a guest writes to it. Raises Refused when it is no image."""
    said = await _run("info", "-U", "-f", disk.format, "--backing-chain", "--output=json", disk.path)
    top, *below = msgspec.json.decode(said)
    layers = tuple([await _layer(Path(info["filename"]), info["format"]) for info in below])
    return DiskFile(
        id=disk.id,
        path=disk.path,
        format=disk.format,
        size_bytes=int(top["virtual-size"]),
        held_bytes=int(top.get("actual-size", 0)),
        cluster_bytes=int(top.get("cluster-size", 0)) if disk.format == "qcow2" else 0,
        layers=layers,
        snapshots=tuple(entry["name"] for entry in top.get("snapshots", ())),
        is_file=Path(disk.path).is_file(),
    )


async def _layer(path: Path, form: str) -> Layer:
    digest = await asyncio.to_thread(files.digest, path)
    return Layer(path=str(path), format=form, file_bytes=path.stat().st_size, digest=digest)


async def create(disk: DiskFile, owner: Identity) -> None:
    """An empty image of the same size on the same layers, for the guest's user; sparse."""
    options: list[str] = []
    if disk.cluster_bytes:
        options = ["-o", f"cluster_size={disk.cluster_bytes}"]
    if disk.layers:
        # -u: the layer may still be on its way; the size is given, so nobody has to look into it.
        options += ["-u", "-b", disk.layers[0].path, "-F", disk.layers[0].format]
    await _run("create", "-q", "-f", disk.format, *options, disk.path, str(disk.size_bytes))
    await asyncio.to_thread(owner.own, Path(disk.path))


async def extents(path: str, form: str) -> bytes:
    """Where the disk's data lies in its file, as JSON; also while a QEMU holds it."""
    return await _run("map", "-U", "-f", form, "--output=json", path)


async def make(
    path: Path, form: str, size_bytes: int, owner: Identity, *, backing: tuple[str, str] = ("", "")
) -> None:
    """A new image, empty or on a backing file (path, format). Raises Refused with qemu-img's words."""
    below = ["-b", backing[0], "-F", backing[1]] if backing[0] else []
    size = [str(size_bytes)] if size_bytes else []
    try:
        await _run("create", "-q", "-f", form, *below, str(path), *size)
    except Aborted as error:
        raise Refused(
            what=f"cannot create the disk {path}",
            why=error.why,
            todo="Look at that folder on the host: is it there, is there room, may it be written?",
        ) from error
    await asyncio.to_thread(owner.own, path)


async def send(path: str, server: dict[str, Any], export: str, credentials: dict[str, Any] | None) -> None:
    """Copies a file, byte for byte and sparse, into an NBD export of at least its size."""
    objects = ["--object", msgspec.json.encode(credentials).decode()] if credentials else []
    target: dict[str, Any] = {"driver": "raw", "file": {"driver": "nbd", "server": server, "export": export}}
    if credentials:
        target["file"]["tls-creds"] = credentials["id"]
    into = ["--target-image-opts", path, _dotted(target)]
    await _run("convert", "-n", "--target-is-zero", *objects, "-f", "raw", *into)


def _dotted(tree: dict[str, Any], prefix: str = "") -> str:
    """`driver=raw,file.driver=nbd,...`: the only way in which qemu-img takes a target."""
    parts = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        parts.append(_dotted(value, f"{name}.") if isinstance(value, dict) else f"{name}={value}")
    return ",".join(parts)


async def _run(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        QEMU_IMG, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, error = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise Aborted(
            what=f"qemu-img {arguments[0]} failed",
            why=error.decode(errors="replace").strip() or f"it ended with {process.returncode}",
            todo="Look at the disk's file and at the room on its storage, then try again.",
        )
    return out
