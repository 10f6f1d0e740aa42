"""Two cards, IPv4 and IPv6, a bridge and an overlay: nothing is lost, nothing comes twice, nothing comes too early."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from segue.engine.post_blackout import FORWARD_S_MAX
from segue.lab import nodes
from tests.lab.client import inside
from tests.lab.scene import ADDRESS, ADDRESS6, BLUE, BLUE6, Scene
from tests.lab.traffic import (
    IPV6,
    NEIGHBOUR_MAC,
    FromGuest,
    Listener,
    Neighbour,
    Probe,
    demand_whole,
    tcp_counters,
)

pytestmark = pytest.mark.lab


@pytest.fixture
def client6(scene: Scene) -> Scene:
    """The client has an IPv6 address, too."""
    scene.run("client1", "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    scene.run("client1", "ip", "addr", "replace", "fd77::c1/64", "dev", "eth0", "nodad")
    return scene


@pytest.fixture
def neighbour(scene: Scene) -> Iterator[Neighbour]:
    """Beside the guest: on the overlay, and on the host that the guest leaves."""
    plugged = Neighbour(scene.lab, scene.owner())
    yield plugged
    plugged.unplug()


def macs(scene: Scene) -> list[str]:
    shown = scene.shown(scene.owner())
    assert shown is not None
    return [nic["mac"] for nic in shown["spec"]["nics"]]


def resumed_at_s(record: dict[str, Any]) -> float:
    """QEMU's own time of its RESUME at the target, by the target's clock."""
    outcome = record["outcome"]
    return float(outcome["resumed_at_s"] + outcome["clock_offset_s"])


def test_a_move_under_traffic_on_all_cards(client6: Scene, neighbour: Neighbour) -> None:
    scene = client6
    _, target = scene.route()
    cards = macs(scene)
    probes = [
        Probe(scene.lab, "client1", "udp", f"{ADDRESS}:7000", "--rate", "100"),
        Probe(scene.lab, "client1", "udp", f"[{ADDRESS6}]:7000", "--rate", "100"),
        Probe(scene.lab, "client1", "tcp", f"{ADDRESS}:7001", "--interval", "20ms"),
        neighbour.probe("udp", f"{BLUE}:7000", "--rate", "100"),
        neighbour.probe("tcp", f"[{BLUE6}]:7001", "--interval", "20ms"),
    ]
    before = tcp_counters(scene.lab, "client1")
    on_fabric, at_target = Listener(scene.lab, "fabric", target), Listener(scene.lab, target)
    record = scene.migrate(target).end("done")
    early, inside_target = on_fabric.frames(), at_target.frames()
    for probe in probes:
        demand_whole(probe.account())
    after = tcp_counters(scene.lab, "client1")
    # Only told: on a machine that stands still for 200 ms for others' sake, a timeout says nothing of the network.
    print({name: after[name] - before[name] for name in after})
    demand_nothing_early(early, cards, resumed_at_s(record))
    strangers = {*cards, NEIGHBOUR_MAC, nodes.parse("client1").mac}
    stray = [f for f in inside_target if f.device.startswith(("tap", "seg")) and f.data[12:14] == IPV6]
    assert not [frame for frame in stray if frame.sender not in strangers], (
        "IPv6 of a host's own on a guest's wires"
    )
    # The neighbour beside the guest goes on talking to it through our bridge: that must not keep us here.
    assert record["outcome"]["post_blackout_s"] < FORWARD_S_MAX / 2
    scene.demand_calm()
    demand_overlay_leads(scene, cards[1], target)


def demand_nothing_early(frames: list[Any], cards: list[str], resumed_s: float) -> None:
    """From the target's port: no frame in the guest's name before it ran there, and its name was heard after."""
    own = [frame for frame in frames if not frame.outgoing and frame.sender in cards]
    assert {frame.sender for frame in own} == set(cards)
    first_s = min(frame.at_s for frame in own)
    assert first_s >= resumed_s, f"a frame {resumed_s - first_s:.6f} s before the guest ran there"


def demand_overlay_leads(scene: Scene, mac: str, to: str) -> None:
    """Every other host sends what is for this card to that host."""
    address = nodes.parse(to).address
    for host in scene.hosts:
        entries = scene.run(host, "bridge", "fdb", "show", "dev", "vx-blue").splitlines()
        led = [line.split()[2] for line in entries if line.startswith(mac) and " dst " in line]
        assert led == ([] if host == to else [address]), (host, entries)


def test_what_the_guest_sends_arrives_once(scene: Scene) -> None:
    _, target = scene.route()
    sent = FromGuest(scene.lab, ADDRESS, rate_per_s=250, seconds=8)
    scene.migrate(target).end("done")
    assert sent.missing_and_twice() == (0, 0)
    scene.demand_calm()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("cut", id="link cut", marks=pytest.mark.slow),
        pytest.param("kill", id="target's QEMU killed"),
    ],
)
def test_an_abort_in_the_blackout_brings_the_frames_back(scene: Scene, fault: str) -> None:
    source, target = scene.route()
    probe = Probe(scene.lab, "client1", "udp", f"{ADDRESS}:7000", "--rate", "250")
    sent = FromGuest(scene.lab, ADDRESS, rate_per_s=100, seconds=10)
    halt = scene.halt(source, "begun hand off")
    move = scene.migrate(target, blackout_s=1.0)
    halt.wait()
    scene.lab.cut(f"{source}--{target}") if fault == "cut" else scene.kill_qemu(target)
    halt.go()
    move.end("aborted")
    scene.lab.mend()
    demand_whole(probe.account())
    assert sent.missing_and_twice() == (0, 0)
    scene.demand_calm()


STRICT = """
add table ip fw
flush table ip fw
add chain ip fw f { type filter hook forward priority 0; policy accept; }
add rule ip fw f tcp dport 7001 ct state established accept
add rule ip fw f tcp sport 7001 ct state established accept
add rule ip fw f tcp dport 7001 counter drop
add rule ip fw f tcp sport 7001 counter drop
"""
WELCOME = "insert rule ip fw f tcp dport 7001 ct state new accept"
FORGET = f"from segue.adapters.net import conntrack as c; c.forget(c.read(['{ADDRESS}']))"


@pytest.fixture
def firewalls(scene: Scene) -> Iterator[Scene]:
    """Every host's bridge lets pass only what belongs to a connection that it knows."""
    for host in scene.hosts:
        scene.run(host, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        scene.run(host, "nft", STRICT)
    yield scene
    for host in scene.hosts:
        scene.run(host, "nft", "delete table ip fw")
        scene.run(host, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0")


@pytest.mark.slow
def test_a_firewall_that_remembers_lets_the_connection_live(firewalls: Scene) -> None:
    scene = firewalls
    source, target = scene.route()
    scene.run(source, "nft", WELCOME)
    talk = inside(scene.lab, "client1", lambda: socket.create_connection((ADDRESS, 7001), timeout=20.0))
    with talk:
        assert said(talk, b"before")
        scene.run(source, "nft", STRICT)
        scene.migrate(target).end("done")
        assert said(talk, b"after the move")
        # The control: what the target was told is all that the connection lives by.
        python = [
            "env",
            "PYTHONPATH=/usr/lib/segue/app:/usr/lib/segue/site-packages",
            "python3",
            "-c",
            FORGET,
        ]
        scene.run(target, *python)
        assert not said(talk, b"forgotten", within_s=2.0)
    scene.demand_calm()


def said(talk: socket.socket, word: bytes, within_s: float = 20.0) -> bool:
    """Whether the guest's echo says it again."""
    talk.settimeout(within_s)
    talk.sendall(word)
    try:
        heard = b""
        while len(heard) < len(word):
            heard += talk.recv(64)
    except TimeoutError:
        return False
    return heard == word
