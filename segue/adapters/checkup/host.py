"""Looks at this host: programs, rights, certificate, folders, memory. It changes nothing that stays."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from segue.adapters.qemu import identity
from segue.model.checkup import Certificate, Folder
from segue.model.guest import Guest

PROGRAMS = ("qemu-img", "qemu-storage-daemon", "setpriv", "prlimit")
KVM, USERFAULT = Path("/dev/kvm"), Path("/dev/userfaultfd")
SYNC_BYTES = 4096
SYNCS = 3
URI_HOST = "host"


def missing_programs() -> tuple[str, ...]:
    """Programs beside QEMU that the agent starts."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


def has_own_mounts() -> bool:
    """Whether what this process mounts is seen by it and its children alone."""
    try:
        return os.readlink("/proc/self/ns/mnt") != os.readlink("/proc/1/ns/mnt")
    except OSError:
        return False  # Nobody may look, so nobody can tell.


def virtualizes() -> bool:
    """Whether the processor shows that it can."""
    flags = Path("/proc/cpuinfo").read_text()
    return any(f" {flag} " in flags for flag in ("vmx", "svm"))


def user_fault(user: str, first: int) -> str:
    """Why no guest could run under a user of its own."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return f"there is no user {user}"
    line = Path("/proc/self/uid_map").read_text().split()
    if first and int(line[0]) + int(line[2]) <= first:
        return f"user numbers from {first} do not exist in this container (see /proc/self/uid_map)"
    return ""


def device_fault(device: Path, user: str) -> str:
    """Why QEMU's user cannot open a device, as the kernel will judge."""
    try:
        found = device.stat()
    except OSError as error:
        return f"{device}: {error.strerror}"
    groups = identity.of(Guest("", "", 0), user).groups
    bits = found.st_mode >> 3 if found.st_gid in groups else found.st_mode
    return "" if bits & stat.S_IRWXO & 6 == 6 else f"{user} has no group that may open {device}"


def userfault_fault(user: str) -> str:
    """Why QEMU's user cannot handle page faults."""
    allowed = Path("/proc/sys/vm/unprivileged_userfaultfd")
    if allowed.exists() and allowed.read_text().strip() == "1":
        return ""
    return device_fault(USERFAULT, user)


def memfd_fault() -> str:
    """Why guest memory cannot be made."""
    try:
        os.close(os.memfd_create("segue-trial"))
    except OSError as error:
        return str(error)
    return ""


def overcommit() -> int:
    """vm.overcommit_memory."""
    return int(Path("/proc/sys/vm/overcommit_memory").read_text())


def mtu(link: str) -> int:
    """Of a link of this host; 0 where there is none."""
    try:
        return int(Path(f"/sys/class/net/{link}/mtu").read_text())
    except OSError:
        return 0


def service() -> str:
    """Who starts this agent again: it is the child of a supervisor, or has systemd's mark."""
    if os.environ.get("INVOCATION_ID"):
        return "systemd"
    parent = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    return parent if parent in {"runsv", "s6-supervise", "supervisord", "systemd"} else ""


def folder(key: str, path: Path, *, write: bool) -> Folder:
    """A folder of the configuration; written to where segue has to."""
    try:
        if write:
            with tempfile.TemporaryFile(dir=path) as file:
                file.write(b"segue")
                file.flush()
        elif not path.is_dir():
            return Folder(key, str(path), fault="it is not there")
        room = shutil.disk_usage(path)
    except OSError as error:
        return Folder(key, str(path), fault=str(error.strerror or error))
    return Folder(key, str(path), _file_system(path), room.free, room.total)


def _file_system(path: Path) -> str:
    """Its type, by the mount that lies closest above the path."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mounted = before.split()[4]
        if path.resolve().is_relative_to(mounted) and len(mounted) >= len(best):
            best, kind = mounted, after.split()[0]
    return kind


def sync_s(path: Path) -> float:
    """How long a small write takes until the disk has it; the best of a few."""
    taken = []
    with tempfile.TemporaryFile(dir=path, buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(SYNC_BYTES))
            begun_s = time.monotonic()
            os.fsync(file.fileno())
            taken.append(time.monotonic() - begun_s)
    return min(taken)


def certificate(ca: Path, cert: Path, key: Path) -> Certificate:
    """This host's certificate as another host will judge it."""
    from cryptography import x509  # Large, and used here alone.
    from cryptography.exceptions import InvalidSignature

    try:
        own = x509.load_pem_x509_certificate(cert.read_bytes())
        authority = x509.load_pem_x509_certificate(ca.read_bytes())
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        others = bool(key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        return Certificate(unreadable=str(error))
    try:
        own.verify_directly_issued_by(authority)
        signed = True
    except (ValueError, TypeError, InvalidSignature):
        signed = False
    return Certificate(
        days_left=_days(own.not_valid_after_utc),
        ca_days_left=_days(authority.not_valid_after_utc),
        signed_by_ca=signed,
        host_names=_hosts(names.get_values_for_type(x509.UniformResourceIdentifier)),
        key_others_may_read=others,
    )


def _days(ends: datetime) -> float:
    return (ends - datetime.now(UTC)).total_seconds() / 86_400


def _hosts(uris: Sequence[str]) -> tuple[str, ...]:
    parts = [uri.split("/") for uri in uris]
    return tuple(part[4] for part in parts if len(part) == 5 and part[3] == URI_HOST)
