"""Lets QEMU's user handle page faults of its own guest's memory, which a post-copy needs on the target.

The kernel gives that to root alone, because a process that can hold up the kernel in the middle of a copy is a
help to attackers (Documentation/admin-guide/mm/userfaultfd.rst). It has a device so that it can be given to one
group; we never turn vm.unprivileged_userfaultfd on, which would give it to every process of the host.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import Final

DEVICE: Final = Path("/dev/userfaultfd")
EVERYBODY: Final = Path("/proc/sys/vm/unprivileged_userfaultfd")


def grant(user: str, device: Path = DEVICE) -> str:
    """Gives the device to the user's group where it still is root's alone; why `user` cannot use it, or empty.

    A host whose administrator gave it to another group is left as it is. The device is made anew at each boot.
    """
    if _everybody_may():
        return ""
    try:
        found = device.stat()
        if found.st_gid == 0 and user != "root":
            os.chown(device, -1, pwd.getpwnam(user).pw_gid)
            device.chmod(0o660)
    except FileNotFoundError:
        return f"there is no {device} on this host (Linux 6.1 has it, built with CONFIG_USERFAULTFD)"
    except OSError as error:
        return f"{device} cannot be given to {user}: {error.strerror}"
    return "" if _may_open(user, device) else f"{user} may not open {device}"


def _everybody_may() -> bool:
    try:
        return EVERYBODY.read_text().strip() == "1"
    except FileNotFoundError:
        return False


def _may_open(user: str, device: Path) -> bool:
    """As the kernel will judge: owner, groups, everybody."""
    entry = pwd.getpwnam(user)
    if entry.pw_uid == 0:
        return True
    found = device.stat()
    groups = os.getgrouplist(user, entry.pw_gid)
    wanted = stat.S_IRUSR | stat.S_IWUSR
    if found.st_uid == entry.pw_uid:
        return found.st_mode & wanted == wanted
    bits = wanted >> 3 if found.st_gid in groups else wanted >> 6
    return found.st_mode & bits == bits
