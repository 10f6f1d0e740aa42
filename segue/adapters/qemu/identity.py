"""As whom a guest's QEMU runs: each guest has a user number of its own, which nobody logs in with.

A guest that breaks out of its QEMU then finds itself as a user who may read this guest's files and no others.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from segue.model.guest import Guest


@dataclass(frozen=True)
class Identity:
    """User, group, and the groups that open devices (kvm, userfaultfd); none of them opens another guest's files."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    def prefix(self) -> list[str]:
        """Words before the program: it starts as this user, can gain nothing by any later exec, and dumps no core."""
        groups = ",".join(map(str, self.groups))
        return [
            *("prlimit", "--core=0", "--"),
            *("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", f"--groups={groups}"),
            *("--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"),
        ]

    def own(self, path: Path, mode: int = 0o600) -> None:
        """The file or folder is this user's alone. Never follows a link that a guest may have put there."""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.fchown(handle, self.uid, self.gid)
            os.fchmod(handle, mode)
        finally:
            os.close(handle)


def of(guest: Guest, user: str) -> Identity:
    """A guest without a number of its own, from a version that had none, runs as `user` itself."""
    entry = pwd.getpwnam(user)
    groups = tuple(sorted({entry.pw_gid, *os.getgrouplist(user, entry.pw_gid)}))
    return Identity(guest.uid or entry.pw_uid, guest.uid or entry.pw_gid, groups)
