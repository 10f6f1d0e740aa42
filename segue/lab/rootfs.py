"""The Debian root file system that every machine of a lab shares read-only; built once, by mmdebstrap."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused
from segue.lab import cachefill

SUITE: Final = "trixie"
PACKAGES: Final = (
    "ca-certificates",
    "criu",
    "crun",
    "iproute2",
    "iputils-ping",
    "libcriu2",
    "netcat-openbsd",
    "nftables",
    "openssh-client",
    "procps",
    "python3",
    "qemu-system-x86",
    "qemu-utils",
    "redis-tools",
    "runit",
    "skopeo",
    "tcpdump",
    "tini",
    "umoci",
)
OPTIONS: Final = (
    "--variant=minbase",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
# Run inside the new root. A real host has the group from udev; QEMU's user needs it where KVM works.
FINISH: Final = """
set -e
getent group kvm >/dev/null || groupadd --system kvm
useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --groups kvm segue-qemu
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /etc/service /etc/runit/runsvdir/default/*
mkdir -p /etc/service /etc/segue /usr/lib/segue /srv/segue/shared /srv/segue/images /run/segue
rm -f /etc/hostname /etc/machine-id
"""
QEMUS: Final = {
    "": (),
    # QEMU and the firmware it brings, from the same mirror that the rest comes from; all else stays as it is.
    "newest": (
        """--setup-hook=sed -n 's/ trixie / trixie-backports /p' "$1/etc/apt/sources.list" """
        """> "$1/etc/apt/sources.list.d/newest.list\"""",
        """--setup-hook=printf 'Package: src:qemu src:seabios src:ipxe src:edk2\nPin: release n=trixie-backports\n"""
        """Pin-Priority: 600\n' > "$1/etc/apt/preferences.d/newest\"""",
    ),
}
"""Which QEMU a host has -> what mmdebstrap is told for it. The empty name is Debian 13's own."""
CRIU_KERNEL: Final = (6, 16)
"""From this kernel on sockets refuse what a CRIU before 4.2 asks them (SO_PASSCRED), and Debian 13 has 4.1."""
NEWER_CRIU: Final = (
    # A list of the next Debian ends soon, also for a machine whose clock is ahead; it is signed like any other.
    """--setup-hook=sed -nE 's/^deb (.*) trixie /deb [check-valid-until=no] \\1 forky /p' """
    """"$1/etc/apt/sources.list" > "$1/etc/apt/sources.list.d/criu.list\"""",
    """--setup-hook=printf 'Package: src:criu src:libnl3 src:libnet\nPin: release n=forky\nPin-Priority: 600\n\n"""
    """Package: *\nPin: release n=forky\nPin-Priority: -1\n' > "$1/etc/apt/preferences.d/criu\"""",
)
FREE_BYTES: Final = 1500 * cachefill.MIB
LIMIT_S: Final = 1200.0


def ensure(cache: Path, on_progress: cachefill.Progress, extra: Sequence[str] = (), qemu: str = "") -> Path:
    """The base layer's folder; with `extra` packages, or with a QEMU of QEMUS, it is one of its own."""

    def build(half: Path) -> None:
        _build(half, (*PACKAGES, *extra), (*QEMUS[qemu], *_criu()))

    return cachefill.ensure(
        folder(cache, extra, qemu),
        build,
        free_bytes=FREE_BYTES,
        on_progress=on_progress,
        label=f"the base image{f' with the {qemu} QEMU' if qemu else ''} (Debian packages, about 20 s)",
    )


def folder(cache: Path, extra: Sequence[str] = (), qemu: str = "") -> Path:
    """A changed recipe is another folder, so that an old image is never taken for a new one."""
    recipe: list[object] = [SUITE, (*PACKAGES, *extra), OPTIONS, FINISH]
    recipe += [part for part in (QEMUS[qemu], _criu()) if part]
    return cache / f"base-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"


def _criu() -> tuple[str, ...]:
    """What mmdebstrap is told so that the hosts have a CRIU that knows this kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return NEWER_CRIU if (int(major), int(re.match(r"\d*", minor)[0] or 0)) >= CRIU_KERNEL else ()  # type: ignore[index]


def _build(half: Path, packages: Sequence[str], more: Sequence[str]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise Refused(
            what="cannot build the base image of the lab",
            why="the program mmdebstrap is not on this machine",
            todo="Run `make setup`, or `apt-get install mmdebstrap`.",
            kind=Kind.NOT_FOUND,
        )
    # Built inside a folder of `half`: mmdebstrap wants an empty folder that it may change the rights of.
    tree = half / "tree"
    run_alone(
        [
            "mmdebstrap",
            "--mode=root",
            "--quiet",
            f"--include={','.join(packages)}",
            *OPTIONS,
            *more,
            SUITE,
            str(tree),
        ],
        what="cannot build the base image of the lab",
    )
    run_alone(["chroot", str(tree), "/bin/sh", "-c", FINISH], what="cannot finish the base image of the lab")
    for path in list(tree.iterdir()):
        path.rename(half / path.name)
    tree.rmdir()


def run_alone(command: list[str], *, what: str) -> None:
    """Run a builder whose mounts and children vanish with it, and it with us, whoever is killed."""
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    try:
        subprocess.run(
            [*alone, "--mount-proc", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(
            what=what,
            why=f"{command[0]} did not end within {LIMIT_S:.0f} s",
            todo="Check that this machine reaches a Debian mirror, and try again.",
            kind=Kind.TIMEOUT,
        ) from error
    except subprocess.CalledProcessError as error:
        raise Refused(
            what=what,
            why=f"{command[0]} said: {_last_words(str(error.stderr))}",
            todo="Check that this machine reaches a Debian mirror, and try again.",
            kind=Kind.UNREACHABLE,
        ) from error


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return "; ".join((errors or lines)[-3:]) or "nothing"
