"""Writes a folder as an image in OCI format (image-spec 1.1), one layer in a tar file; needs no other program."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LAYOUT: Final = {"imageLayoutVersion": "1.0.0"}
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
REFERENCE: Final = "org.opencontainers.image.ref.name"


def write(root: Path, settings: Mapping[str, Any], name: str, to: Path, architecture: str = "amd64") -> None:
    """The same folder gives the same image: no time of the build is in it. settings: the image's `config`."""
    plain = _layer(root)
    packed = gzip.compress(plain, compresslevel=1, mtime=0)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, packed)],
        }
    )
    entry = {**_descriptor(MANIFEST, manifest), "annotations": {REFERENCE: name}}
    with tarfile.open(to, "w") as tar:
        _add(tar, "oci-layout", _json(LAYOUT))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (config, packed, manifest):
            _add(tar, f"blobs/{_digest(blob).replace(':', '/')}", blob)


def _layer(root: Path) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            entry = tar.gettarinfo(path, str(path.relative_to(root)))
            entry.mtime, entry.uname, entry.gname = 0, "", ""
            if entry.isreg():
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    return found.getvalue()


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, name: str, blob: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(blob)
    tar.addfile(entry, io.BytesIO(blob))
