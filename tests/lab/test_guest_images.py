"""The guests' images boot in Debian's QEMU and do what the lab needs of them."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from segue.errors import Kind, Refused
from segue.lab import images, places
from segue.traffic.probe import Protocol, Wish, run_probe
from tests.lab.base import in_base

BOOT_S = 240.0
"""A guest is ready after 3 to 17 s here; the limit is for a busy machine."""


@dataclass
class Running:
    """A guest whose ports are forwarded to this machine's loopback."""

    image: dict[str, Any]
    ports: dict[str, int]
    process: subprocess.Popen[bytes]
    scratch: Path

    def wait_for(self, words: bytes) -> None:
        """Read the console until it says these words."""
        assert self.process.stdout is not None
        deadline, said = time.monotonic() + BOOT_S, b""
        while words not in said:
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            assert ready, f"not within {BOOT_S:.0f} s: {words!r}; the console says {said[-2000:]!r}"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"QEMU ended: {said[-2000:]!r}"
            said += data

    def say(self, words: bytes) -> None:
        """Types them on the console."""
        assert self.process.stdin is not None
        self.process.stdin.write(words)
        self.process.stdin.flush()

    def command(self, name: str) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(BOOT_S)
            monitor.connect(str(self.scratch / "qmp.sock"))
            lines = monitor.makefile("rw")
            lines.readline()
            for line in ("qmp_capabilities", name):
                lines.write(json.dumps({"execute": line}) + "\n")
                lines.flush()
                answer: dict[str, Any] = {"event": "none yet"}
                while "event" in answer:
                    answer = json.loads(lines.readline())
                assert "return" in answer, answer

    def dirty(self, *lines: str) -> list[str]:
        """Ask the memory dirtier."""
        with socket.create_connection(("127.0.0.1", self.ports["dirty"]), BOOT_S) as sock:
            file = sock.makefile("rw")
            answers = []
            for line in lines:
                file.write(line + "\n")
                file.flush()
                answers.append(file.readline().strip())
        return answers


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def start(name: str, scratch: Path) -> Running:
    folder = places.cache() / "images" / name
    image = json.loads((folder / "image.json").read_text())
    ports = {service: free_port() for service in image["services"]}
    forwards = "".join(
        f",hostfwd={'udp' if service == 'udp-echo' else 'tcp'}:127.0.0.1:{ports[service]}-:{port}"
        for service, port in image["services"].items()
    )
    here = f"/srv/segue/images/{name}"
    words = f"{image['cmdline']} segue.redis=1 ip=10.0.2.15::10.0.2.2:255.255.255.0:tester:eth0:off"
    disk = ["-drive", f"file={here}/{image['disk']},format={image['disk_format']},if=virtio,snapshot=on"]
    command = in_base(
        scratch,
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-serial", "stdio"),
        *("-machine", "pc-q35-10.0", "-accel", "tcg", "-cpu", "Nehalem", "-m", "384M"),
        *("-kernel", f"{here}/{image['kernel']}", "-initrd", f"{here}/{image['initrd']}", "-append", words),
        *("-netdev", f"user,id=n0{forwards}", "-device", "virtio-net-pci,netdev=n0"),
        *("-qmp", "unix:/mnt/qmp.sock,server=on,wait=off"),
        *(disk if image["disk"] else []),
    )
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return Running(image, ports, process, scratch)


LOST_MOST = 0.1
"""Of UDP on a machine that is busy with other tests."""


@pytest.fixture(scope="module", params=["micro", pytest.param("debian", marks=pytest.mark.slow)])
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if os.geteuid() != 0:
        pytest.skip("guest images need root")
    images.ensure_images(places.cache(), [request.param], print)
    running = start(request.param, tmp_path_factory.mktemp("guest"))
    try:
        running.wait_for(f"segue-{request.param} ready".encode())
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.lab
@pytest.mark.parametrize(
    ("protocol", "service"),
    [
        (Protocol.UDP, "udp-echo"),
        (Protocol.TCP, "tcp-echo"),
        (Protocol.HTTP, "http"),
        (Protocol.REDIS, "redis"),
    ],
)
async def test_every_service_answers_right(guest: Running, protocol: Protocol, service: str) -> None:
    place = f"127.0.0.1:{guest.ports[service]}"
    target = f"http://{place}/" if protocol is Protocol.HTTP else place
    wish = Wish(
        protocol, target, rate_per_s=200.0, duration_s=1.0, first_reply_s=60.0, timeout_s=60.0, drain_s=60.0
    )
    seen = await asyncio.wait_for(run_probe(wish, asyncio.Event()), BOOT_S)
    missing = seen.sent - seen.received
    assert seen.received > 0
    assert missing == 0 or (protocol is Protocol.UDP and missing <= seen.sent * LOST_MOST), missing
    assert (seen.failed, seen.broken_connections, seen.lost_writes) == (0, 0, 0)


@pytest.mark.lab
def test_a_guest_that_shows_what_is_lost_drops_nothing_itself(guest: Running) -> None:
    """fq_codel did, on a busy machine: one or two answers, seconds before a pause that lost none."""
    if guest.image["name"] != "micro":
        pytest.skip("this guest is as Debian makes it")
    guest.say(b"\rcat /proc/sys/net/core/default_qdisc\r")
    guest.wait_for(b"\npfifo_fast\r\n")


@pytest.mark.lab
def test_the_dirtier_writes_and_proves_its_pages(guest: Running) -> None:
    assert guest.dirty("size 8M", "rate 4M") == ["ok", "ok"]
    deadline = time.monotonic() + BOOT_S
    while (status := guest.dirty("status")[0].split())[5] == "0":
        assert time.monotonic() < deadline, "nothing was written"
    assert status[:4] == ["rate", str(4 << 20), "size", str(8 << 20)]
    assert guest.dirty("check", "rate 0", "check") == ["ok", "ok", "ok"]
    assert guest.dirty("size 900G", "nonsense")[0].startswith("error")


@pytest.mark.lab
def test_the_key_in_the_image_opens_the_debian_guest(guest: Running, tmp_path: Path) -> None:
    if "ssh" not in guest.ports:
        pytest.skip("this guest has no SSH")
    key = (places.cache() / "images/debian/ssh_host_ed25519_key.pub").read_text()
    port = guest.ports["ssh"]
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {key}")
    options = ["-o", "UserKnownHostsFile=/mnt/known", "-o", "BatchMode=yes"]
    command = [
        "ssh",
        "-i",
        "/srv/segue/images/debian/id_ed25519",
        "-p",
        str(port),
        *options,
        "root@127.0.0.1",
    ]
    told = subprocess.run(
        in_base(tmp_path, *command, "hostname; systemctl --failed --no-legend"),
        capture_output=True,
        text=True,
        check=True,
        timeout=BOOT_S,
    )
    assert told.stdout == "tester\n"


@pytest.mark.slow
@pytest.mark.lab
def test_it_boots_again_after_a_reset_and_obeys_the_power_button(guest: Running) -> None:
    guest.command("system_reset")
    guest.wait_for(b" ready")
    guest.command("system_powerdown")
    assert guest.process.wait(BOOT_S) == 0


@pytest.mark.lab
def test_an_image_that_is_there_is_not_built_again(guest: Running) -> None:
    said: list[str] = []
    name = guest.image["name"]
    before = os.readlink(places.cache() / "images" / name)
    images.ensure_images(places.cache(), [name, name], said.append)
    assert said == []
    assert os.readlink(places.cache() / "images" / name) == before


def test_an_image_without_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="windows") as caught:
        images.ensure_images(tmp_path, ["windows"], print)
    assert caught.value.kind is Kind.NOT_FOUND


def test_a_machine_without_mmdebstrap_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Refused, match="mmdebstrap is not on this machine"):
        images.ensure_images(tmp_path, ["micro"], lambda text: None)
    assert [path.name for path in (tmp_path / "images").iterdir() if not path.name.startswith(".lock")] == []
