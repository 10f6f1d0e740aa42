"""Turns one process into PID 1 of a lab machine; only the standard library may be imported here.

Started by `Lab.up` as `python -S -m segue.lab.boot SPEC`. It says `pid N` when the namespaces exist, says
`ready` when the root file system is in place, and waits for `go` while the network is wired. If `up` dies
before that word, the end of the pipe is read instead and the half-built machine vanishes by itself.

A host can reboot itself, as a real one can: whoever started it stays outside, and starts it again when the kernel
says that it asked for that by reboot(2). Any other end, such as that by `segue lab kill`, is an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.lab import syscalls

NAMESPACES: Final = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
)

DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
DEVICES_IF_PRESENT: Final = ("kvm", "userfaultfd", "vhost-net", "fuse")

# Forwarded frames must not run through a packet filter, replies must not be judged by the way they came, and
# no port may talk IPv6 by itself: each of these would blur what a client measures.
SYSCTLS: Final = {
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/ip_forward": "0",
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv6/conf/default/accept_ra": "0",
}


@dataclass(frozen=True)
class Spec:
    """Everything the first process of a machine has to know."""

    hostname: str
    root: str
    lower: list[str]
    upper: str
    work: str
    binds: list[list[str]]
    cgroup: str
    command: list[str]
    environ: dict[str, str]
    reboots: list[str]
    """Run when the machine has asked for a reboot; none: it has to be started by hand."""


def main() -> int:
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    os.setsid()
    os.umask(0o022)
    if spec.reboots and not _leave_to_a_child():
        return 0
    namespaces = NAMESPACES
    if spec.cgroup:
        _join(f"{spec.cgroup}/cgroup.procs")
        namespaces |= syscalls.CLONE_NEWCGROUP
    syscalls.unshare(namespaces)
    child = os.fork()
    if child:
        _say(f"pid {child}")
        return 0
    try:
        _first_process(spec)
    except OSError as error:
        _say(f"failed {error.errno or 0} {error}")
    return 1


def _leave_to_a_child() -> bool:
    """True in the process that makes the machine; another one has it as its child, and waits for its end.

    It has to stay outside: whoever makes the machine's namespaces ends up in its file system.
    """
    if os.fork():
        return False
    syscalls.adopt_orphans()
    maker = os.fork()
    if maker == 0:
        return True
    empty = os.open("/dev/null", os.O_RDWR)
    os.dup2(empty, 0)
    os.dup2(empty, 1)  # Else the end of the machine's first words would never be seen.
    os.waitpid(maker, 0)
    try:
        _, status = os.wait()
    except ChildProcessError:
        os._exit(1)
    # reboot(2) in a pid namespace ends its first process with this signal (pid_namespaces(7)).
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP:
        spec = Spec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        subprocess.run(spec.reboots, check=False, stdin=subprocess.DEVNULL, stdout=2)
    os._exit(0)


def _first_process(spec: Spec) -> None:
    if spec.cgroup:
        # Its own processes live one level down, so that the cgroup may hand controllers to containers.
        _join(f"{spec.cgroup}/init/cgroup.procs")
    syscalls.set_hostname(spec.hostname)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    _mount_root(spec)
    _fill_dev(f"{spec.root}/dev")
    for source, target, mode in spec.binds:
        _bind(source, f"{spec.root}{target}", read_only=mode == "ro")
    _enter_root(spec.root)
    _set_sysctls()
    _say("ready")
    if sys.stdin.readline().strip() != "go":
        return
    _hand_over(spec)


def _mount_root(spec: Spec) -> None:
    root = spec.root
    # Without an index a machine may start while the kernel still takes its old root down after a power loss.
    options = (
        f"lowerdir={':'.join(_escaped(path) for path in spec.lower)},"
        f"upperdir={_escaped(spec.upper)},workdir={_escaped(spec.work)},index=off"
    )
    syscalls.mount("segue-lab", root, "overlay", options=options)
    syscalls.mount(
        "proc", f"{root}/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    )
    syscalls.mount(
        "sysfs", f"{root}/sys", "sysfs", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    )
    if spec.cgroup:
        syscalls.mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", syscalls.MS_NOSUID | syscalls.MS_NOEXEC)
    syscalls.mount("tmpfs", f"{root}/dev", "tmpfs", syscalls.MS_NOSUID, "mode=0755,size=16m")
    syscalls.mount("tmpfs", f"{root}/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=0755")
    syscalls.mount("tmpfs", f"{root}/tmp", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777")


def _escaped(path: str) -> str:
    """overlayfs splits its options at commas and its layers at colons."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _fill_dev(dev: str) -> None:
    for name in DEVICES:
        _copy_device(f"/dev/{name}", f"{dev}/{name}", 0o666)
    for name in DEVICES_IF_PRESENT:
        if Path(f"/dev/{name}").exists():
            _copy_device(f"/dev/{name}", f"{dev}/{name}", 0o660)
    os.mkdir(f"{dev}/net")
    _make_device(f"{dev}/net/tun", 0o666, os.makedev(10, 200))
    os.mkdir(f"{dev}/pts")
    syscalls.mount(
        "devpts", f"{dev}/pts", "devpts", syscalls.MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620,gid=5"
    )
    os.mkdir(f"{dev}/shm")
    syscalls.mount("tmpfs", f"{dev}/shm", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")


def _copy_device(source: str, target: str, mode: int) -> None:
    _make_device(target, mode, os.stat(source).st_rdev)
    if source.endswith("/kvm"):
        with contextlib.suppress(KeyError):
            os.chown(target, 0, _group_of_root(target, "kvm"))


def _make_device(path: str, mode: int, number: int) -> None:
    os.mknod(path, stat.S_IFCHR | mode, number)
    os.chmod(path, mode)  # mknod obeys the umask, which is not ours to choose


def _group_of_root(inside: str, name: str) -> int:
    """The number of a group as the new root knows it, not as the machine does."""
    groups = Path(inside).parent.parent / "etc" / "group"
    for line in groups.read_text(encoding="utf-8").splitlines():
        parts = line.split(":")
        if parts[0] == name:
            return int(parts[2])
    raise KeyError(name)


def _bind(source: str, target: str, *, read_only: bool) -> None:
    os.makedirs(target, exist_ok=True)
    syscalls.mount(source, target, flags=syscalls.MS_BIND)
    if read_only:
        # The first call ignores every flag but MS_BIND, so read-only takes a second one.
        syscalls.mount(source, target, flags=syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY)


def _enter_root(root: str) -> None:
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    # The old root now lies on top of the new one; taking it away leaves nothing of the machine's mounts.
    syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")


def _set_sysctls() -> None:
    for name, value in SYSCTLS.items():
        # A kernel built without one of these has nothing there to switch off.
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", name).write_text(value, encoding="ascii")


def _hand_over(spec: Spec) -> None:
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)  # stderr is the machine's console log
    signal.signal(
        signal.SIGPIPE, signal.SIG_DFL
    )  # Python ignores it, and everything below would inherit that
    os.execve(spec.command[0], spec.command, spec.environ)


def _join(procs: str) -> None:
    Path(procs).write_text("0", encoding="ascii")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
