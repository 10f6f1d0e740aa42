"""The recipes of images for applications: a few of Debian's packages, unpacked, and what is to run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from segue.lab import cachefill, oci_layout, packages

FREE_BYTES: Final = 600 * cachefill.MIB
ARCHIVE: Final = "image.tar"
USER: Final = 999
"""Whoever runs in it; the same number in each image."""
PASSWD: Final = f"root:x:0:0:root:/root:/bin/sh\napp:x:{USER}:{USER}:app:/data:/bin/sh\n"
GROUP: Final = f"root:x:0:\napp:x:{USER}:\n"
UNUSED: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache",
    "var/lib/apt",
)
FOLDERS: Final = ("etc", "proc", "sys", "dev", "run", "tmp", "data", "root", "bin")

REDIS: Final[dict[str, Any]] = {
    "User": "app",
    "WorkingDir": "/data",
    "Env": ["LANG=C.UTF-8"],
    "Entrypoint": ["/usr/bin/redis-server"],
    "Cmd": ["/etc/app/redis.conf"],
    "ExposedPorts": {"6379/tcp": {}},
}
PYTHON: Final[dict[str, Any]] = {
    "User": "app",
    "WorkingDir": "/data",
    "Env": ["LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "GREETING=hello"],
    "Entrypoint": ["/usr/bin/python3"],
    "Cmd": ["/etc/app/server.py"],
    "ExposedPorts": {"8080/tcp": {}},
}
NGINX: Final[dict[str, Any]] = {
    "User": "app",
    "WorkingDir": "/data",
    "Env": ["LANG=C.UTF-8"],
    "Entrypoint": ["/usr/sbin/nginx"],
    "Cmd": ["-c", "/etc/app/nginx.conf"],
    "StopSignal": "SIGQUIT",
    "ExposedPorts": {"8080/tcp": {}},
}
POSTGRES: Final[dict[str, Any]] = {
    "User": "app",
    "WorkingDir": "/data",
    "Env": ["LANG=C.UTF-8"],
    "Entrypoint": ["/usr/bin/sh", "/etc/app/start"],
    "StopSignal": "SIGINT",
    "ExposedPorts": {"5432/tcp": {}},
}


def recipe(
    wanted: Sequence[str], settings: Mapping[str, Any], name: str
) -> Callable[[Path, Path, Path], None]:
    """Has `packages` and the files of `guest/NAME` under /etc/app."""

    def build(root: Path, out: Path, files: Path) -> None:
        packages.unpack(root, (*wanted, "busybox-static", "libc-bin"))
        _finish(root, files)
        oci_layout.write(root, settings, f"{name}:lab", out / ARCHIVE)

    return build


def description(name: str) -> dict[str, Any]:
    """The agent's `segue vm create` says that this is no machine."""
    return {"name": name, "archive": ARCHIVE}


def _finish(root: Path, files: Path) -> None:
    for name in UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in FOLDERS:
        if not (root / name).is_symlink():
            (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    os.chown(root / "data", USER, USER)
    (root / "etc/passwd").write_text(PASSWD, encoding="ascii")
    (root / "etc/group").write_text(GROUP, encoding="ascii")
    if not (root / "usr/bin/sh").exists():
        (root / "usr/bin/sh").symlink_to("busybox")
    shutil.copytree(files, root / "etc/app")
