"""What kind of image a file or folder holds, looked at without unpacking it."""

from __future__ import annotations

import tarfile
from enum import StrEnum
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused

LOOK_AT: Final = 100_000
"""Entries; a tar file has no table of contents, and a bundle's root file system may come first."""


class Form(StrEnum):
    """`OCI` and `DOCKER` are the words that skopeo has for them."""

    OCI = "oci-archive"
    """`podman save --format oci-archive`, `skopeo copy ... oci-archive:`, a tar file of an OCI layout."""
    DOCKER = "docker-archive"
    """`docker save`, `podman save`."""
    BUNDLE = "bundle"
    """A tar file of an OCI bundle: config.json and rootfs."""


def form_of(path: Path, called: str) -> Form:
    """Raises Refused for a file that is none of them. called: what the image is to be, for people."""
    try:
        found = _names(path)
    except (tarfile.TarError, OSError, EOFError) as error:
        # Python says of each compression that it knows why it is not that one.
        said = "" if "\n" in str(error) else f": {error}"
        raise _refused(called, f"what was sent is no tar file, or a part of one{said}") from error
    if "oci-layout" in found:
        return Form.OCI
    if "manifest.json" in found:
        return Form.DOCKER
    if {"config.json", "rootfs"} <= found:
        return Form.BUNDLE
    some = ", ".join(sorted(found)[:5])
    raise _refused(
        called,
        f"it has neither oci-layout, nor manifest.json, nor config.json and rootfs, but {some or 'nothing'}",
    )


def _names(path: Path) -> set[str]:
    """The names at the top."""
    found: set[str] = set()
    with tarfile.open(path) as tar:
        for number, entry in enumerate(tar):
            name = entry.name.removeprefix("./").split("/", 1)[0]
            if name not in {"", "."}:
                found.add(name)
            if "oci-layout" in found or number > LOOK_AT:
                break
    return found


def _refused(called: str, why: str) -> Refused:
    return Refused(
        what=f"what is sent for {called} is no image",
        why=why,
        todo="Give a file of `docker save`, `podman save` or `skopeo copy`, or an OCI bundle.",
        kind=Kind.USAGE,
    )
