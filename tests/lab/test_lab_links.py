"""Cuts are black holes with a carrier, a rate holds both ways, and every verb may be repeated."""

from __future__ import annotations

import time

import pytest

from segue.errors import Kind, Refused
from segue.lab import cuts, rates
from segue.lab.api import Lab
from tests.lab.conftest import wait_until

pytestmark = pytest.mark.lab


def reaches(lab: Lab, source: str, target: str) -> bool:
    """A neighbour that was asked in vain while it was cut off is given up for one packet more."""
    return any(lab.exec(source, ["ping", "-c1", "-W5", target]).returncode == 0 for _ in range(3))


def silent(lab: Lab, source: str, target: str) -> bool:
    """A reply takes less than a millisecond, and some more on a busy machine."""
    return lab.exec(source, ["ping", "-c1", "-W0.3", target]).returncode == 1


def test_a_cut_between_two_leaves_the_rest_alone(lab: Lab) -> None:
    lab.cut("host2--host1")
    lab.cut("host1--host2")
    assert silent(lab, "host1", "host2")
    assert reaches(lab, "host1", "client1")
    assert reaches(lab, "client1", "host2")
    assert [cut.what for cut in lab.status().cuts] == ["host1--host2"]
    assert lab.status().cuts[0].frames > 0
    lab.mend("host2--host1")
    lab.mend("host1--host2")
    assert reaches(lab, "host1", "host2")


def test_a_cut_host_reaches_nobody_and_keeps_its_carrier(lab: Lab) -> None:
    lab.cut("host1")
    assert silent(lab, "host1", "host2")
    assert silent(lab, "client1", "host1")
    assert reaches(lab, "client1", "host2")
    assert lab.exec("host1", ["cat", "/sys/class/net/uplink0/carrier"]).stdout == "1\n"
    assert {machine.name: machine.cuts for machine in lab.status().machines}["host1"] == ["host1"]
    lab.mend("host1")
    assert reaches(lab, "client1", "host1")


def test_mend_of_a_host_takes_every_cut_that_touches_it_and_no_other(lab: Lab) -> None:
    for what in ("host1", "host1--client1", "host2--client1"):
        lab.cut(what)
    lab.mend("host1")
    assert [cut.what for cut in lab.status().cuts] == ["host2--client1"]
    lab.mend()
    assert lab.status().cuts == []
    assert reaches(lab, "client1", "host2")


def test_a_broadcast_does_not_pass_a_cut(lab: Lab) -> None:
    lab.cut("host1--host2")
    watch = lab.popen(
        "host2",
        ["tcpdump", "-l", "-n", "-i", "uplink0", "-c1", "arp and arp host 10.77.0.99"],
        stdout=-1,
        stderr=-1,
    )
    assert watch.stderr is not None
    while b"listening on" not in watch.stderr.readline():
        pass
    lab.exec("host1", ["ping", "-c1", "-W0.3", "10.77.0.99"])
    assert watch.poll() is None
    lab.mend()
    lab.exec("host1", ["ping", "-c1", "-W0.3", "10.77.0.99"])
    assert watch.wait(10) == 0


@pytest.mark.parametrize("direction", [("host1", "host2"), ("host2", "host1")])
def test_a_rate_holds_in_both_directions(lab: Lab, direction: tuple[str, str]) -> None:
    source, target = direction
    lab.set_rate(80_000_000, "host1")
    sink = lab.popen(target, ["nc", "-l", "-p", "9000"], stdout=-3)
    wait_until(lambda: ":9000" in lab.exec(target, ["ss", "-ltn"]).stdout, "somebody listens")
    begun_s = time.monotonic()
    lab.exec(source, ["sh", "-c", f"head -c 10M /dev/zero | nc -N {target} 9000"], check=True)
    assert sink.wait(20) == 0
    # 84 Mbit at 80 Mbit/s; without the limit the machine needs far less than half a second.
    assert time.monotonic() - begun_s > 0.8
    lab.set_rate(None)


def test_rates_are_read_and_written_as_people_do() -> None:
    assert rates.parse("1gbit") == 10**9
    assert rates.parse("2.5Gbit") == 2_500_000_000
    assert rates.parse("none") is None
    assert [rates.show(rates.parse(text)) for text in ("1gbit", "250mbit", "none")] == [
        "1gbit",
        "250mbit",
        "none",
    ]
    for wrong in ("0mbit", "fast", "100", "40gbit", "-1mbit"):
        with pytest.raises(Refused):
            rates.parse(wrong)


def test_what_cannot_be_cut_is_refused_by_name(lab: Lab) -> None:
    for what, kind in {
        "host7": Kind.NOT_FOUND,
        "host1--host9": Kind.NOT_FOUND,
        "fabric": Kind.USAGE,
        "host1--host1": Kind.USAGE,
        "a--b--c": Kind.USAGE,
        "router": Kind.NOT_FOUND,
    }.items():
        with pytest.raises(Refused) as refused:
            lab.cut(what)
        assert refused.value.kind is kind, what
    assert lab.status().cuts == []


def test_a_cut_has_one_spelling() -> None:
    assert cuts.parse("host2--host1") == cuts.parse("host1--host2") == "host1--host2"
    assert cuts.parse("client1--host2") == "host2--client1"
    assert cuts.parse("host10--host9") == "host9--host10"
