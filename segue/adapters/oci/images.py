"""The host's store of images: blobs by their digests in one OCI layout, and each image unpacked once, never changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters.oci import archive, tools
from segue.adapters.oci.archive import Form
from segue.errors import Kind, Refused

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
REFERENCE: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,254}")
TAG: Final = "incoming"
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""uname's words, and those of images."""
MEND: Final = "Look at the file or the name of the image, and at the room on this host, then try again."


@dataclass(frozen=True)
class Image:
    """One image of the store. `digest`: of its configuration, so the same whatever compressed its layers."""

    digest: str
    references: tuple[str, ...]
    bytes: int


class Images:
    """One change at a time: the layout has one table of contents. What has its final name is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._layout = folder / "store"
        self._trees = folder / "trees"
        self._lock = asyncio.Lock()

    def rootfs(self, digest: str) -> Path:
        """The image's files; the lower layer of every application that is made of it."""
        return self._tree(digest) / "rootfs"

    def config(self, digest: str) -> dict[str, Any]:
        """The runtime configuration that the image stands for, with users as numbers. Raises Refused."""
        try:
            found: dict[str, Any] = json.loads(
                (self._tree(digest) / "config.json").read_text(encoding="utf-8")
            )
        except FileNotFoundError as error:
            raise _unknown(digest, self.references()) from error
        return found

    def settings(self, digest: str) -> dict[str, Any]:
        """The image's own configuration, as whoever built it wrote it."""
        found: dict[str, Any] = json.loads(self.blob(digest).read_text(encoding="utf-8")).get("config") or {}
        return found

    def blob(self, digest: str) -> Path:
        """Anything of the store by its digest."""
        return self._layout / "blobs" / digest.replace(":", "/")

    def has(self, digest: str) -> bool:
        """True once all of it is here and unpacked."""
        return bool(DIGEST.fullmatch(digest)) and self._tree(digest).is_dir()

    def digests(self) -> tuple[str, ...]:
        """All that can be run here."""
        found = (entry.name.replace("-", ":", 1) for entry in self._trees.glob("sha256-*"))
        return tuple(sorted(name for name in found if not name.endswith(".part") and self.has(name)))

    def references(self) -> dict[str, str]:
        """Name -> digest of the image that was taken in under it last."""
        try:
            found: dict[str, str] = json.loads((self.folder / "references.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def known(self, reference: str) -> str:
        """The digest of an image that is here, by its name or digest; empty for one that is not."""
        digest = reference if DIGEST.fullmatch(reference) else self.references().get(reference, "")
        return digest if self.has(digest) else ""

    def name_of(self, digest: str, reference: str) -> str:
        """What people call it: `reference`, or for one that was asked for by its digest the name that it has here."""
        if reference != digest:
            return reference
        names = [name for name, found in self.references().items() if found == digest]
        return names[-1] if names else digest

    def every(self) -> list[Image]:
        """All images."""
        names: dict[str, list[str]] = {}
        for reference, digest in self.references().items():
            names.setdefault(digest, []).append(reference)
        trees = [path for path in self._trees.glob("sha256-*") if not path.name.endswith(".part")]
        digests = sorted(path.name.replace("-", ":", 1) for path in trees)
        return [Image(d, tuple(sorted(names.get(d, ()))), self._bytes(d)) for d in digests]

    async def pull(self, reference: str) -> str:
        """From a registry; the digest. Raises Refused with skopeo's words."""
        if not REFERENCE.fullmatch(reference):
            raise _bad_name(reference)
        return await self._take_in(f"docker://{reference}", reference)

    async def load(self, path: Path, reference: str) -> str:
        """From a file, whatever form it has; the digest."""
        if not REFERENCE.fullmatch(reference):
            raise _bad_name(reference)
        form = await asyncio.to_thread(archive.form_of, path, reference)
        if form is not Form.BUNDLE:
            return await self._take_in(f"{form}:{path}", reference)
        async with self._scratch() as scratch:
            await asyncio.to_thread(_untar, path, scratch)
            return await self._take_in(await _image_of_bundle(scratch), reference)

    async def prune(self, used: Callable[[], Collection[str]]) -> list[Image]:
        """Takes away all images but those in use, which is asked once nothing more comes in; those that went."""
        async with self._lock:
            kept = used()
            gone = [one for one in self.every() if one.digest not in kept]
            names = self.references().items()
            self._note({name: digest for name, digest in names if digest in kept})
            for one in gone:
                half = self._tree(one.digest).with_suffix(".part")
                self._tree(one.digest).rename(half)
                await asyncio.to_thread(shutil.rmtree, half)
            await self._collect({TAG, *(one.digest.replace(":", "-") for one in gone)})
            return gone

    async def _collect(self, tags: Collection[str]) -> None:
        """Blobs without a name go; layers that others share stay."""
        path = self._layout / "index.json"
        if not path.exists():
            return
        await asyncio.to_thread(_forget, path, tags)
        collect = tools.umoci("gc", "--layout", str(self._layout))
        await tools.run(collect, what="not all of the unused images went", todo=MEND)

    async def _take_in(self, source: str, reference: str) -> str:
        async with self._lock:
            await asyncio.to_thread(self._make_layout)
            what = f"the image {reference} is not taken in"
            target = f"oci:{self._layout}:{TAG}"
            await tools.run(tools.skopeo("copy", "--quiet", source, target), what=what, todo=MEND)
            digest = self._config_digest(TAG)
            demand_fitting(
                json.loads(self.blob(digest).read_text(encoding="utf-8")), platform.machine(), what
            )
            name = digest.replace(":", "-")
            await tools.run(
                tools.umoci("tag", "--image", f"{self._layout}:{TAG}", name), what=what, todo=MEND
            )
            await self._unpack(digest, what)
            self._remember(reference, digest)
            return digest

    async def _unpack(self, digest: str, what: str) -> None:
        tree = self._tree(digest)
        if tree.is_dir():
            return
        part = tree.with_name(f"{tree.name}.part")
        await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        image = f"{self._layout}:{digest.replace(':', '-')}"
        await tools.run(tools.umoci("unpack", "--image", image, str(part)), what=what, todo=MEND)
        await asyncio.to_thread(os.sync)  # What has its final name is complete, also after a power loss.
        part.rename(tree)

    def _make_layout(self) -> None:
        for folder in (self.folder, self._trees):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _config_digest(self, tag: str) -> str:
        index = json.loads((self._layout / "index.json").read_text(encoding="utf-8"))
        for entry in index["manifests"]:
            if _name(entry) == tag:
                manifest = json.loads(self.blob(entry["digest"]).read_text(encoding="utf-8"))
                return str(manifest["config"]["digest"])
        raise FileNotFoundError(f"{self._layout} has no {tag}")

    def _remember(self, reference: str, digest: str) -> None:
        self._note({**self.references(), reference: digest})

    def _note(self, names: dict[str, str]) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = self.folder / "references.json.new"
        half.write_text(json.dumps(names, indent=1), encoding="utf-8")
        half.replace(self.folder / "references.json")

    def _tree(self, digest: str) -> Path:
        return self._trees / digest.replace(":", "-", 1)

    def _bytes(self, digest: str) -> int:
        """Of its blobs, as they lie here compressed."""
        try:
            tag = digest.replace(":", "-")
            index = json.loads((self._layout / "index.json").read_text(encoding="utf-8"))
            found = {_name(entry): entry["digest"] for entry in index["manifests"]}
            manifest = json.loads(self.blob(found[tag]).read_text(encoding="utf-8"))
            return sum(int(layer["size"]) for layer in manifest["layers"])
        except (FileNotFoundError, KeyError):
            return 0

    @asynccontextmanager
    async def _scratch(self) -> AsyncIterator[Path]:
        await asyncio.to_thread(self._make_layout)
        folder = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.folder))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def demand_fitting(config: Mapping[str, Any], machine: str, what: str) -> None:
    """Raises Refused for an image of programs that this sort of machine (as uname says) does not understand."""
    here, made_for = ARCHITECTURES.get(machine, machine), str(config.get("architecture") or "")
    system = str(config.get("os") or "linux")
    if system != "linux" or made_for not in {"", here}:
        raise Refused(
            what=what,
            why=f"it is for {system} on {made_for or 'an unknown processor'}, and this host is linux on {here}",
            todo=f"Take the image for {here}.",
            kind=Kind.USAGE,
        )


def _forget(path: Path, tags: Collection[str]) -> None:
    """Also what has no name at all: each image loses the name under which it came in to the next."""
    index = json.loads(path.read_text(encoding="utf-8"))
    index["manifests"] = [entry for entry in index["manifests"] if _name(entry) not in {"", *tags}]
    half = path.with_name("index.json.new")
    half.write_text(json.dumps(index), encoding="utf-8")
    half.replace(path)


def _name(entry: Mapping[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", ""))


def _untar(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as tar:
            # Owners and rights stay, as an image has them; nothing lands outside of the folder, and no device is made.
            tar.extractall(folder / "bundle", filter="tar", numeric_owner=True)
    except (tarfile.TarError, OSError) as error:
        raise Refused(
            what=f"the bundle {path.name} is not taken in", why=str(error), todo=MEND, kind=Kind.USAGE
        ) from error


async def _image_of_bundle(scratch: Path) -> str:
    """An image with one layer, the bundle's root file system, that does what the bundle's process does."""
    what = "the bundle is not taken in"
    process = (
        json.loads((scratch / "bundle" / "config.json").read_text(encoding="utf-8")).get("process") or {}
    )
    user = process.get("user") or {}
    layout, image = scratch / "image", f"{scratch / 'image'}:bundle"
    words = ["--config.user", f"{user.get('uid', 0)}:{user.get('gid', 0)}"]
    words += ["--config.workingdir", process.get("cwd") or "/"]
    words += ["--clear=config.entrypoint", "--clear=config.cmd", "--clear=config.env"]
    for one in process.get("args") or ():
        words += ["--config.cmd", one]
    for one in process.get("env") or ():
        words += ["--config.env", one]
    root = str(scratch / "bundle" / "rootfs")
    for command in (
        tools.umoci("init", "--layout", str(layout)),
        tools.umoci("new", "--image", image),
        # A new image says when it was made; the same bundle is to be the same image.
        tools.umoci("config", "--image", image, "--no-history", "--created", "1970-01-01T00:00:00Z", *words),
        tools.umoci("insert", "--image", image, "--no-history", root, "/"),
    ):
        await tools.run(command, what=what, todo=MEND)
    return f"oci:{image}"


def name_of_file(path: Path) -> str:
    """The name under which a file's image is known that has no other: `redis.tar` -> `redis`, and its content."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{re.sub('[^a-zA-Z0-9._-]', '-', path.name.split('.')[0]) or 'image'}:{digest[:12]}"


def _unknown(digest: str, known: dict[str, str]) -> Refused:
    return Refused(
        what=f"there is no image {digest} here",
        why=f"this host has {', '.join(sorted(known)) or 'none'}",
        todo="`segue app images` shows what each host has.",
        kind=Kind.NOT_FOUND,
    )


def _bad_name(reference: str) -> Refused:
    return Refused(
        what=f"'{reference}' is no name of an image",
        why="such a name is like registry.example.org/team/redis:8 or redis",
        todo="Correct the name.",
        kind=Kind.USAGE,
    )
