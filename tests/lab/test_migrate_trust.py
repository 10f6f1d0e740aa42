"""What travels between hosts is read by nobody, and nobody else is let in: seen on the wire, tried from outside."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.errors import Kind, Refused
from segue.lab import nodes
from tests.lab.client import inside
from tests.lab.moves import Halt, Move
from tests.lab.scene import WRITES, Scene

pytestmark = pytest.mark.lab
KNOWN: Final = WRITES.encode()
"""The kernel keeps its command line in memory, so every copy of the memory has this in it."""
PLAIN: Final = """sed -i '/^\\[tls\\]/a channels = "off"' /etc/segue/agent.toml"""
ETH_P_ALL: Final = 3
SO_RCVBUFFORCE: Final = 33
HANDSHAKE, DATA = 0x16, 0x17
WAIT_S: Final = 1.0


class Tapped:
    """All frames that pass a host's network card, as a neighbour on a bad switch would see them."""

    def __init__(self, scene: Scene, host: str) -> None:
        card = nodes.parse(host).interface
        self._line = inside(scene.lab, host, lambda: _raw(card))
        self._ended = threading.Event()
        self.frames: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                self.frames.append(self._line.recv(1 << 17))

    def close(self) -> None:
        """No more frames."""
        self._ended.set()
        self._reader.join()
        self._line.close()

    def to_port(self, port: int) -> list[bytes]:
        """What was said to that TCP port, in the order it passed."""
        words = [_payload(frame) for frame in self.frames if frame[12:14] == b"\x08\x00" and frame[23] == 6]
        return [word for to, word in words if to == port and word]


def _raw(card: str) -> socket.socket:
    line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    line.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    line.bind((card, 0))
    line.settimeout(0.1)
    return line


def _payload(frame: bytes) -> tuple[int, bytes]:
    """(destination port, what the segment carries)."""
    segment = 14 + (frame[14] & 15) * 4
    begin = segment + (frame[segment + 12] >> 4) * 4
    end = 14 + int.from_bytes(frame[16:18], "big")
    return int.from_bytes(frame[segment + 2 : segment + 4], "big"), frame[begin:end]


def port_of(move: Move) -> int:
    return int(move.record()["landing"]["memory_address"].rpartition(":")[2])


def captured(scene: Scene) -> list[bytes]:
    """What a whole migration says to the port of the target's QEMU."""
    _, target = scene.route()
    tapped = Tapped(scene, target)
    try:
        move = scene.migrate(target)
        move.end("done")
    finally:
        tapped.close()
    words = tapped.to_port(port_of(move))
    assert sum(map(len, words)) > 4 << 20, "a capture without the memory in it shows nothing"
    return words


def test_memory_on_the_wire_is_tls(scene: Scene) -> None:
    words = captured(scene)
    assert words[0][0] == HANDSHAKE
    assert not [word for word in words if KNOWN in word]
    scene.demand_calm()


@contextlib.contextmanager
def plain(scene: Scene, *hosts: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for host in hosts:
            stack.enter_context(scene.configured(host, PLAIN))
        yield


@pytest.mark.slow
def test_without_tls_the_same_capture_shows_the_memory(scene: Scene) -> None:
    """The other test's eyes are good; and the switch for measuring works."""
    with plain(scene, *scene.route()):
        words = captured(scene)
        assert words[0][:4] == b"QEVM"
        assert [word for word in words if KNOWN in word]
        scene.demand_calm()


@pytest.mark.parametrize("end", ["source", pytest.param("target", marks=pytest.mark.slow)])
def test_hosts_that_do_not_agree_begin_nothing(scene: Scene, end: str) -> None:
    source, target = scene.route()
    with (
        plain(scene, source if end == "source" else target),
        pytest.raises(Refused, match=r"\[tls\] channels") as refused,
    ):
        scene.migrate(target)
    assert refused.value.kind is Kind.POLICY
    scene.demand_calm()


@contextlib.contextmanager
def about_to_copy(scene: Scene) -> Iterator[tuple[Move, Halt]]:
    """A migration whose target listens and whose source has not connected yet."""
    source, target = scene.route()
    halt = scene.halt(source, "begun copy memory")
    move = scene.migrate(target)
    halt.wait()
    yield move, halt


def connects(scene: Scene, caller: str, to: str, port: int, words: bytes) -> bool:
    """Whether a machine of the network is let in; if so it says `words` and hangs up."""
    with inside(scene.lab, caller, socket.socket) as line:
        line.settimeout(WAIT_S)
        try:
            line.connect((nodes.parse(to).address, port))
        except TimeoutError:
            return False
        line.sendall(words)
        return True


def landing_port(scene: Scene, target: str) -> int:
    """The halted source's agent does not answer, so the kernel of the target is asked."""
    rows = Path(f"/proc/{scene.lab.host_pids(target)[0]}/net/tcp").read_text().splitlines()[1:]
    ports = {int(row.split()[1].rpartition(":")[2], 16) for row in rows if row.split()[3] == "0A"}
    (port,) = ports - {nodes.AGENT_PORT}
    return port


def handshake(scene: Scene, caller: str, to: str, port: int, key: str) -> bool:
    """Whether a TLS client with this key is taken for the source's QEMU."""
    argv = ["openssl", "s_client", "-connect", f"{nodes.parse(to).address}:{port}", "-tls1_3"]
    argv += ["-psk_identity", "qemu", "-psk", key]
    done = scene.lab.exec(caller, ["sh", "-c", f"{' '.join(argv)} </dev/null 2>&1"])
    return "Reused, TLSv1.3" in done.stdout


def test_strangers_do_not_get_in(scene: Scene) -> None:
    """Another host of the fleet is not even heard; the source's own address needs the key, too."""
    with about_to_copy(scene) as (move, halt):
        port = landing_port(scene, move.target)
        assert not connects(scene, "host3", move.target, port, b"")
        assert not connects(scene, "client1", move.target, port, b"")
        assert connects(scene, move.source, move.target, port, b"QEVM\0\0\0\3" + bytes(4096))
        assert not handshake(scene, move.source, move.target, port, "5e" * 32)
        halt.go()
        move.end("done")
    scene.demand_calm()


@pytest.mark.slow
def test_the_key_is_what_opens_the_door(scene: Scene) -> None:
    """The other test's strangers fail for want of the key, not for want of skill."""
    with about_to_copy(scene) as (move, halt):
        key = key_file(scene, move.source).read_text().strip().partition(":")[2]
        assert handshake(scene, move.source, move.target, landing_port(scene, move.target), key)
        halt.go()
        move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == move.source


def key_file(scene: Scene, host: str) -> Path:
    (found,) = scene.folder(host).glob("keys/*/*/keys.psk")
    return found


def test_a_source_with_another_key_is_refused_and_the_guest_runs_on(scene: Scene) -> None:
    with about_to_copy(scene) as (move, halt):
        path = key_file(scene, move.source)
        path.write_text("qemu:" + "5e" * 32 + "\n")
        halt.go()
        failure = move.end("aborted")["failure"]
    assert "TLS" in failure["why"], failure
    scene.demand_calm()
    assert scene.owner() == move.source
    scene.migrate(move.target).end("done")
    scene.demand_calm()


def uid_of_guest(scene: Scene, host: str) -> int:
    """Of the QEMU that the kernel shows there."""
    (qemu,) = scene.census.on(host)
    return Path(f"/proc/{qemu.pid}").stat().st_uid


def test_the_key_is_shown_nowhere(scene: Scene) -> None:
    with about_to_copy(scene) as (move, halt):
        key = key_file(scene, move.source).read_text().strip().partition(":")[2]
        assert key == key_file(scene, move.target).read_text().strip().partition(":")[2]
        for host in (move.source, move.target):
            found = key_file(scene, host).stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (
                0,
                uid_of_guest(scene, host),
                0o640,
            )
        halt.go()
        move.end("done")
    assert len(key) == 64
    for host in (move.source, move.target):
        disk = scene.lab.places.node("host", host) / "upper"
        files = [*disk.glob("var/log/segue/agent/*"), *disk.glob("var/lib/segue/journal.db*")]
        said = [path.read_bytes() for path in files if path.is_file()]
        said += [str(scene.call(host, "GET", path)).encode() for path in ("/migrations", "/guests", "/host")]
        assert move.number.encode() in b"".join(said), "not what the agents keep"
        assert not [words for words in said if key.encode() in words or bytes.fromhex(key) in words]
    scene.demand_calm()
