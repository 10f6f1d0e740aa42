"""Two hosts of a lab with an application that a client talks to, moved by the real adapter and nothing above it."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any, Final

from segue.lab.api import Lab

NAME: Final = "app1"
BUNDLE: Final = "/run/app1"
PORT: Final = 7000
ADDRESS: Final = "10.77.100.9"
CLIENT: Final = "10.77.0.201"
CARD: Final = "02:aa:00:00:00:01"
OUTER: Final = "tapapp1"
PATHS: Final = "PYTHONPATH=/usr/lib/segue/app:/usr/lib/segue/site-packages"
MOVER: Final = Path(__file__).with_name("app_mover.py").read_text()
SERVER: Final = """
import os, socket, threading
memory = os.urandom(1 << 20) * 16
deleted = open("/tmp/gone", "w+b")
os.unlink("/tmp/gone")
reader, writer = os.pipe()
one, other = socket.socketpair()
lock, count = threading.Lock(), 0

def serve(client):
    global count
    with client:
        while data := client.recv(4096):
            with lock:
                count += 1
                deleted.write(data)
                deleted.flush()
                os.write(writer, b"p"); one.sendall(b"s")
                assert os.read(reader, 1) + other.recv(1) == b"ps"
                client.sendall(b"%d %d %d\\n" % (count, deleted.tell(), hash(memory) & 0xffff))

listener = socket.create_server(("0.0.0.0", 7000))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
FURNISH: Final = f"""
set -e
mkdir -p {BUNDLE}/rootfs/proc {BUNDLE}/rootfs/dev {BUNDLE}/rootfs/sys {BUNDLE}/rootfs/usr {BUNDLE}/rootfs/tmp
for name in bin lib lib64; do ln -s usr/$name {BUNDLE}/rootfs/$name; done
cat >{BUNDLE}/rootfs/server.py
ip netns add sg-{NAME}
ip link add {OUTER} type veth peer name eth0 netns sg-{NAME} address {CARD}
ip -n sg-{NAME} address add {ADDRESS}/16 dev eth0
ip -n sg-{NAME} link set eth0 up
ip -n sg-{NAME} link set lo up
ip link set {OUTER} up
"""
MOUNTS: Final = (
    ("/proc", "proc", ()),
    ("/dev", "tmpfs", ("nosuid", "mode=755")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666")),
    ("/tmp", "tmpfs", ("nosuid", "nodev")),
)


def config() -> dict[str, Any]:
    """What crun is given: the host's own programs, read-only, and a server among them."""
    mounts: list[dict[str, Any]] = [
        {"destination": place, "type": kind, "source": kind, "options": list(options)}
        for place, kind, options in MOUNTS
    ]
    mounts.append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]})
    spaces: list[dict[str, str]] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/usr/bin/python3", "/server.py"],
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": NAME,
        "mounts": mounts,
        "linux": {
            "cgroupsPath": f"/segue-apps/{NAME}",
            "namespaces": [*spaces, {"type": "network", "path": f"/run/netns/sg-{NAME}"}],
        },
    }


class Half:
    """One host's half of a move, in a process of its own there."""

    def __init__(self, lab: Lab, host: str, role: str) -> None:
        argv = ["env", PATHS, "python3", "-c", MOVER, role, NAME, BUNDLE]
        self._process = lab.popen(host, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, *words: str) -> str:
        """A word to it, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{' '.join(words)}\n")
        self._process.stdin.flush()
        return str(self._process.stdout.readline().strip())

    def kill(self) -> None:
        """As a crash of the agent."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """It ends by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Stage:
    """The lab, furnished; `runs_on` is asked of the kernels, of nobody else."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        for host in ("host1", "host2"):
            lab.exec(host, ["sh", "-c", FURNISH], input=SERVER, check=True)
            lab.exec(host, ["sh", "-c", f"cat >{BUNDLE}/config.json"], input=json.dumps(config()), check=True)

    def start(self, host: str) -> None:
        """The application runs there, and its card is plugged in."""
        half = Half(self.lab, host, "leave")
        assert half.tell("run").startswith("ok")
        half.close()
        self.plug(host)

    def plug(self, host: str) -> None:
        """Its frames come and go there."""
        said = f"ip link set {OUTER} master br0 && ip netns exec sg-{NAME} ping -c 1 -W 1 {CLIENT}"
        self.lab.exec(host, ["sh", "-c", said], check=True)

    def unplug(self, host: str) -> None:
        """No frame comes in and none gets out."""
        self.lab.exec(host, ["ip", "link", "set", OUTER, "nomaster"], check=True)

    def begin(self, source: str, target: str) -> tuple[Half, Half]:
        """Both halves, connected."""
        secret = secrets.token_hex(32)
        leaving, coming = Half(self.lab, source, "leave"), Half(self.lab, target, "arrive")
        at = coming.tell("open", f"10.77.0.1{target[-1]}", secret).removeprefix("at ")
        assert leaving.tell("begin", at, secret).startswith("ok")
        return leaving, coming

    def again(self, host: str, role: str) -> Half:
        """A half whose agent was killed, started anew."""
        return Half(self.lab, host, role)

    def stop_and_restore(self, source: str, leaving: Half) -> None:
        """Up to the point where both halves wait for the word."""
        assert leaving.tell("freeze").startswith("ok")
        self.unplug(source)
        for word in ("dump", "restored"):
            said = leaving.tell(word)
            assert said.startswith("ok"), said

    def runs_on(self) -> list[str]:
        """The hosts on which processes of it are neither frozen nor held by CRIU."""
        group = f"/sys/fs/cgroup/segue-apps/{NAME}"
        script = (
            f"grep -qs 'frozen 1' {group}/cgroup.events && exit 1; "
            f"for pid in $(cat {group}/cgroup.procs 2>/dev/null); do "
            "grep -qs '^State:.[RS]' /proc/$pid/status && exit 0; done; exit 1"
        )
        return [
            host for host in ("host1", "host2") if self.lab.exec(host, ["sh", "-c", script]).returncode == 0
        ]
