"""Three real etcd members with TLS and authentication, in a network of their own that can be cut.

While an `Enclave` is entered, this thread and all that it starts live in that network, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from segue.adapters.store.etcd.place import EtcdPlace
from segue.lab import pki, syscalls

CLIENTS, PEERS = "10.98.0", "10.99.0"
HEARTBEAT_MS, ELECTION_MS = 50, 500
TOKEN_TTL_S = 1
PASSWORD, ROOT_PASSWORD = "s3gue-pass", "r00t-pass"
LIMIT_S = 30.0


def ip(*lines: str, force: bool = False) -> None:
    """Network commands, all at once; with force, what fails is left out."""
    argv = ["ip", *["-force"] * force, "-batch", "-"]
    subprocess.run(argv, input="\n".join(lines), text=True, check=not force, capture_output=force)


@contextlib.contextmanager
def enclave() -> Iterator[None]:
    """A network of our own: `cl` joins members and clients, `pe` the members among themselves."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        ip(
            "link set lo up",
            "link add cl type bridge forward_delay 0",
            "link add pe type bridge forward_delay 0",
            f"addr add {CLIENTS}.254/24 dev cl",
            "link set cl up",
            "link set pe up",
        )
        yield
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)


class Member:
    """One member: its process, its two cables, its data."""

    def __init__(self, program: Path, folder: Path, number: int, certificates: pki.Pair, ca: Path) -> None:
        self.number = number
        self._program = program
        self._folder = folder
        self._pair = certificates
        self._ca = ca
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://{CLIENTS}.{self.number}:2379"

    def start(self) -> None:
        """In a network namespace of its own; it waits until its cables are plugged in."""
        log = (self._folder / f"m{self.number}.log").open("ab")
        script = ["sh", "-c", 'read go && exec "$0" "$@"', str(self._program), *self._options()]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--", *script],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
        self._plug(self._process.pid)
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        self._process.stdin.close()

    def _plug(self, pid: int) -> None:
        mine = os.readlink("/proc/thread-self/ns/net")
        deadline_s = time.monotonic() + LIMIT_S
        while os.readlink(f"/proc/{pid}/ns/net") == mine:
            assert time.monotonic() < deadline_s
            time.sleep(0.002)
        n = self.number
        ip(
            # A member that comes back has the address that the others remember.
            f"link add c{n} type veth peer name eth0 address 02:00:00:00:00:0{n} netns {pid}",
            f"link add p{n} type veth peer name eth1 address 02:00:00:00:01:0{n} netns {pid}",
            f"link set c{n} master cl up",
            f"link set p{n} master pe up",
        )
        inside = (
            f"ip link set lo up; ip addr add {CLIENTS}.{n}/24 dev eth0; ip addr add {PEERS}.{n}/24 dev eth1;"
            "ip link set eth0 up; ip link set eth1 up"
        )
        subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec", inside], check=True)

    def _options(self) -> list[str]:
        n, pair, ca = self.number, self._pair, str(self._ca)
        options = {
            "name": f"m{n}",
            "data-dir": str(self._folder / f"m{n}"),
            "initial-cluster": ",".join(f"m{i}=https://{PEERS}.{i}:2380" for i in (1, 2, 3)),
            "initial-advertise-peer-urls": f"https://{PEERS}.{n}:2380",
            "listen-peer-urls": f"https://{PEERS}.{n}:2380",
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "heartbeat-interval": str(HEARTBEAT_MS),
            "election-timeout": str(ELECTION_MS),
            "auth-token-ttl": str(TOKEN_TTL_S),
            "bcrypt-cost": "4",  # a log-in costs what it may cost in tests
            "trusted-ca-file": ca,
            "peer-trusted-ca-file": ca,
            "cert-file": str(pair.certificate),
            "peer-cert-file": str(pair.certificate),
            "key-file": str(pair.key),
            "peer-key-file": str(pair.key),
        }
        flags = ["--client-cert-auth", "--peer-client-cert-auth", "--log-level=warn"]
        return [*(f"--{key}={value}" for key, value in options.items()), *flags]

    def kill(self) -> None:
        """As if its power went."""
        assert self._process
        self._process.kill()
        self._process.wait(LIMIT_S)
        # The kernel takes its cables away, but not at once.
        ip(*(f"link del {cable}{self.number}" for cable in "cp"), force=True)

    def freeze(self) -> None:
        """It does nothing any more, but its connections stay open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        # The signal is sent before all its threads have heard it, and one of them may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def cut(self, *cables: str) -> None:
        """`c`: from clients, `p`: from the other members. A black hole, not a refusal."""
        ip(*(f"link set {cable}{self.number} nomaster" for cable in cables))

    def mend(self) -> None:
        ip(f"link set c{self.number} master cl", f"link set p{self.number} master pe")

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Cluster:
    """All three."""

    def __init__(self, program: Path, folder: Path) -> None:
        folder.chmod(0o755)
        authority = pki.ensure_authority(folder / "pki")
        self.folder = folder
        self.members = []
        for n in (1, 2, 3):
            pair = pki.Pair(folder / f"pki/m{n}.pem", folder / f"pki/m{n}.key")
            addresses = [f"{CLIENTS}.{n}", f"{PEERS}.{n}", "127.0.0.1"]
            # The gateway of a member is a client of that member: one certificate for both, or it lets nobody in.
            pki.issue(
                authority,
                pair,
                common_name=f"m{n}",
                uri=f"segue://lab/etcd/m{n}",
                addresses=addresses,
                server=True,
            )
            self.members.append(Member(program, folder, n, pair, folder / "pki/ca.pem"))
        self._client = pki.issue(
            authority,
            pki.Pair(folder / "pki/client.pem", folder / "pki/client.key"),
            common_name="",
            uri="segue://lab/store",
        )
        (folder / "password").write_text(PASSWORD + "\n")

    def up(self) -> None:
        for member in self.members:
            member.start()
        self.wait()
        self._demand_login()

    def down(self) -> None:
        for member in self.members:
            if member.runs():
                member.kill()

    async def whole(self) -> None:
        """All members run, nothing is cut, one of them leads.

        To be called in the main thread: a member ends with the thread that started it.
        """
        for member in self.members:
            if not member.runs():
                member.start()
            member.thaw()
            member.mend()
        await asyncio.to_thread(self.wait)

    def place(self, prefix: str, members: tuple[int, ...] = (1, 2, 3)) -> EtcdPlace:
        """For a client that knows these members."""
        return EtcdPlace(
            endpoints=tuple(self.members[n - 1].url for n in members),
            prefix=prefix,
            ca=self.folder / "pki/ca.pem",
            cert=self._client.certificate,
            key=self._client.key,
            user="segue",
            password_file=self.folder / "password",
        )

    def leader(self) -> Member:
        """The member that leads now."""
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            for member in self.members:
                answer = self.ask("/v3/maintenance/status", {}, member, quietly=True)
                if answer.get("leader") and answer["leader"] == answer["header"]["member_id"]:
                    return member
            time.sleep(0.02)
        raise AssertionError("nobody leads")

    def wait(self) -> None:
        """Until every member takes part."""
        deadline_s = time.monotonic() + LIMIT_S
        todo = list(self.members)
        while todo:
            assert time.monotonic() < deadline_s, self.logs()
            answer = self.ask("/v3/maintenance/status", {}, todo[0], quietly=True)
            if answer.get("leader", "0") != "0":
                todo.pop(0)
            else:
                time.sleep(0.02)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-1000:] for path in sorted(self.folder.glob("*.log")))

    def compact(self, revision: int) -> None:
        """etcd forgets what happened up to there."""
        self.as_root("/v3/kv/compaction", {"revision": str(revision)})

    def as_root(self, path: str, body: dict[str, Any]) -> None:
        """What only etcd's own operator may."""
        leader = self.leader()
        root = {"name": "root", "password": ROOT_PASSWORD}
        token = self.ask("/v3/auth/authenticate", root, leader)["token"]
        self.ask(path, body, leader, token=token)

    def change_password(self, new: str) -> None:
        """As an operator would: etcd first, then the file. All tokens of the user are void at once."""
        self.as_root("/v3/auth/user/changepw", {"name": "segue", "password": new})
        (self.folder / "password").write_text(new + "\n")

    def member_id(self) -> str:
        """Of the member that leads."""
        return str(self.ask("/v3/maintenance/status", {}, self.leader())["header"]["member_id"])

    def _demand_login(self) -> None:
        """As docs/reference/store.md tells an operator to."""
        end = _base64("segue0")
        grants = {"perm": {"permType": "READWRITE", "key": _base64("segue/"), "range_end": end}}
        first = self.leader()
        for path, body in (
            ("user/add", {"name": "root", "password": ROOT_PASSWORD}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("user/add", {"name": "segue", "password": PASSWORD}),
            ("role/add", {"name": "segue"}),
            ("role/grant", {"name": "segue", **grants}),
            ("user/grant", {"user": "segue", "role": "segue"}),
            ("enable", {}),
        ):
            self.ask(f"/v3/auth/{path}", body, first)

    def ask(
        self, path: str, body: dict[str, Any], member: Member, *, quietly: bool = False, token: str = ""
    ) -> dict[str, Any]:
        """A call of the gateway without any client of ours."""
        context = ssl.create_default_context(cafile=str(self.folder / "pki/ca.pem"))
        context.load_cert_chain(self._client.certificate, self._client.key)
        headers = {"Authorization": token} if token else {}
        try:
            with httpx2.Client(verify=context, timeout=0.7 if quietly else 5.0, headers=headers) as client:
                answer = client.post(member.url + path, json=body)
        except httpx2.HTTPError:
            if quietly:
                return {}
            raise
        if not quietly:
            assert answer.status_code == 200, f"{path}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found


def _base64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()
