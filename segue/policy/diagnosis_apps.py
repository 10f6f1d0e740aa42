"""Judges what a host has for applications: whether it runs them, moves them, limits them. Part of the diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from segue.model.checkup import AppSigns, Finding, Folder, Level

CHECK: Final = "applications"
FOLDER: Final = "apps_dir"
PROFILE: Final = "/usr/share/containers/seccomp.json"

ADDITION: Final = (
    "Install packaging/segue-agent.service.d/applications.conf (docs/how-to/run-an-application.md)."
)


def examine(signs: AppSigns, folders: Iterable[Folder]) -> Iterator[Finding]:
    """Nothing here is worse than a warning: many hosts are for machines alone."""
    if signs.missing_programs:
        names = " ".join(signs.missing_programs)
        yield _warn(
            "this host runs no applications",
            f"it has no {', '.join(signs.missing_programs)}",
            f"Only where it is to run them: `apt-get install {names}`, then restart the agent.",
        )
        return
    yield Finding(Level.OK, CHECK, "crun, skopeo and umoci are there")
    if signs.move_fault:
        yield _warn(
            "applications cannot be moved",
            signs.move_fault,
            "On every host: `apt-get install criu libcriu2` (4.2 on a kernel from 6.16 on), and restart the agent.",
        )
    elif signs.memory_way:
        yield Finding(Level.OK, CHECK, f"applications move; {signs.memory_way}")
    if not signs.filters:
        yield _warn(
            "applications may use every system call",
            f"there is no {PROFILE}",
            "apt-get install golang-github-containers-common, then restart the agent.",
        )
    if signs.cgroup_fault:
        yield _warn(
            "applications cannot be started", f"no cgroup can be made: {signs.cgroup_fault}", ADDITION
        )
    elif signs.own_mounts:
        yield _warn(
            "applications do not outlive the agent whole",
            "the agent has mounts of its own: root file systems and networks that it mounts go with it",
            ADDITION,
        )
    yield from _limits(signs)
    yield from _folder(folders)


def _limits(signs: AppSigns) -> Iterator[Finding]:
    if signs.missing_limits:
        yield _warn(
            f"applications have no limit of {', '.join(signs.missing_limits)}",
            "the host's version 2 cgroups lack these controllers: version 1 has them, or a container below does",
            "Boot with systemd.unified_cgroup_hierarchy=1; in a container, let the host below hand them down.",
        )
    else:
        yield Finding(Level.OK, CHECK, "limits of memory, processors and processes hold")


def _folder(folders: Iterable[Folder]) -> Iterator[Finding]:
    """What is wrong with the folder as such is said with the others."""
    kind = next((one.file_system for one in folders if one.key == FOLDER), "")
    if kind == "overlay":
        why = "apps_dir is an overlay itself, and the kernel stacks no writable overlay on it"
        yield _warn("applications cannot be started", why, "Put apps_dir on a disk.")


def _warn(what: str, why: str, todo: str) -> Finding:
    return Finding(Level.WARN, CHECK, what, why, todo)
