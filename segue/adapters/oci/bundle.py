"""The launch profile: turns an application into the runtime's configuration (OCI runtime-spec 1.1); starts nothing."""

from __future__ import annotations

import resource
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from segue.adapters.oci.places import CGROUP, AppPlaces
from segue.model.application import Application
from segue.model.guest import Guest

CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What a server needs that starts as root of its container and then becomes another user."""
MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES: Final = {
    "pid": "pid",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
}
"""The runtime's word and the kernel's. A clock of its own (time) goes on where it stood when the application moves:
that of another host has counted since another boot."""
OPEN_FILES_MAX: Final = 65536
CPU_PERIOD_US: Final = 100_000
NOSUID_NODEV_NOEXEC: Final = ("nosuid", "noexec", "nodev")


def config(
    guest: Guest, app: Application, places: AppPlaces, limits: Collection[str], seccomp: Mapping[str, Any]
) -> dict[str, Any]:
    """limits: the controllers that this host has; seccomp: the runtime's filter, empty for none."""
    return {
        "ociVersion": "1.1.0",
        "process": _process(app),
        "root": {"path": str(places.rootfs), "readonly": app.read_only},
        "hostname": guest.name,
        "mounts": [*_own_mounts(), *_volumes(app, places)],
        "linux": {
            "namespaces": [*_namespaces(), {"type": "network", "path": str(places.netns)}],
            "cgroupsPath": f"/{CGROUP}/{guest.name}",
            "resources": _resources(guest, app, limits),
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            **({"seccomp": dict(seccomp)} if seccomp else {}),
        },
    }


def _process(app: Application) -> dict[str, Any]:
    names = {one.partition("=")[0] for one in app.env}
    # More than the agent has itself takes a right that it may not have.
    files = min(OPEN_FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    of_root = list(CAPABILITIES) if app.uid == 0 else []
    return {
        "terminal": False,
        "user": {"uid": app.uid, "gid": app.gid, "additionalGids": list(app.groups), "umask": 0o022},
        "args": list(app.args),
        "env": [*([] if "PATH" in names else [PATH]), *app.env],
        "cwd": app.cwd,
        "capabilities": {
            "bounding": list(CAPABILITIES),
            "permitted": of_root,
            "effective": of_root,
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": files, "hard": files}],
        "noNewPrivileges": True,
        # The agent's own value would be inherited, and protects it alone.
        "oomScoreAdj": 0,
    }


def _namespaces() -> Iterator[dict[str, str]]:
    for kind, name in NAMESPACES.items():
        if Path("/proc/self/ns", name).exists():
            yield {"type": kind}


def _own_mounts() -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", "proc", *NOSUID_NODEV_NOEXEC),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"
        ),
        _mount("/dev/shm", "tmpfs", "shm", *NOSUID_NODEV_NOEXEC, "mode=1777", "size=65536k"),
        _mount("/sys", "sysfs", "sysfs", *NOSUID_NODEV_NOEXEC, "ro"),
        # Language runtimes read here how much memory and how many processors are theirs.
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *NOSUID_NODEV_NOEXEC, "relatime", "ro"),
    ]


def _mount(where: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": where, "type": kind, "source": source, "options": list(options)}


def _volumes(app: Application, places: AppPlaces) -> list[dict[str, Any]]:
    found = []
    for volume in app.volumes:
        rights = "ro" if volume.read_only else "rw"
        found.append(
            _mount(volume.path, "bind", str(places.volume(volume)), "bind", "nosuid", "nodev", rights)
        )
    return found


def _resources(guest: Guest, app: Application, limits: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if "memory" in limits:
        # As much swap as the memory limit means: none beyond it.
        found["memory"] = {"limit": guest.memory_bytes, "swap": guest.memory_bytes}
    if "pids" in limits:
        found["pids"] = {"limit": app.processes_max}
    if "cpu" in limits and app.cpus:
        found["cpu"] = {"quota": int(app.cpus * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    return found
