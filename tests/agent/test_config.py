"""A configuration that cannot be meant is refused with the key that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.agent import config
from segue.errors import Refused

GOOD = """
name = "host1"
address = "10.77.0.11"
[tls]
ca = "{0}/ca.pem"
cert = "{0}/host.pem"
key = "{0}/host.key"
[peers]
host2 = "https://10.77.0.12:7443"
"""


def write(folder: Path, text: str) -> Path:
    for name in ("ca.pem", "host.pem", "host.key"):
        (folder / name).write_text("")
    path = folder / "agent.toml"
    path.write_text(text.format(folder))
    return path


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    read = config.load(write(tmp_path, GOOD))
    assert read.port == 7443
    assert read.state_dir == Path("/var/lib/segue")
    assert read.peer_address("host2") == "10.77.0.12"
    assert read.failpoints is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD.replace('name = "host1"', ""), "name"),
        ('port = "many"\n' + GOOD, "port"),
        (GOOD.replace("ca.pem", "nothing.pem"), "nothing.pem"),
        ('brige = "br1"\n' + GOOD, "brige"),
        ("this is not toml", "agent.toml"),
        ('transfer_ports = "49152"\n' + GOOD, "transfer_ports: '49152' is not FIRST-LAST"),
    ],
)
def test_an_error_names_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Refused, match=named):
        config.load(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not there"):
        config.load(tmp_path / "agent.toml")


def test_networks(tmp_path: Path) -> None:
    text = GOOD + '[networks.lan]\nbridge = "br1"\n[networks.blue]\nvni = 7\nhosts = ["host2"]\n'
    networks = config.load(write(tmp_path, text)).networks
    assert (networks["lan"].bridge, networks["blue"].vni, networks["blue"].hosts) == ("br1", 7, ("host2",))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("[networks.blue]", "networks.blue needs either"),
        ('[networks.blue]\nvni = 7\nbridge = "br0"', "networks.blue needs either"),
        ("[networks.blue]\nvni = 16777216", "networks.blue.vni"),
        ("[networks.blue]\nvni = 7\nmtu = 100", "networks.blue.mtu"),
        ("[networks.blue]\nvni = 7\ntag = 3", "networks.blue.tag"),
        ('[networks.blue]\nvni = 7\nhosts = ["host9"]', "host9"),
        ("[networks.a-name-too-long]\nvni = 7", "12 small letters"),
        ("[networks.a]\nvni = 7\n[networks.b]\nvni = 7", "the same `vni`"),
    ],
)
def test_a_network_that_cannot_be_meant(tmp_path: Path, network: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        config.load(write(tmp_path, f"{GOOD}{network}\n"))
    assert why in refused.value.why


RULE = """[[health.rules]]
name = "memory-burst"
kind = "memory"
signal = "corrected"
measure = "rise"
says = "errors"
span_s = 60
suspect = 1
"""


def test_health(tmp_path: Path) -> None:
    text = (
        GOOD + '[health]\nsysfs = "/lab/sys"\nevery_s = 2\noff = ["smart"]\nwithout = ["nic-drops"]\n' + RULE
    )
    health = config.load(write(tmp_path, text)).health
    assert (health.sysfs, health.proc, health.off) == (Path("/lab/sys"), Path("/proc"), ("smart",))
    assert (health.rules[0].suspect, health.rules[0].failing, health.rules[0].release) == (1.0, None, 0.9)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('[health]\nsysf = "/x"', "health.sysf"),
        ('[health]\noff = ["smrt"]', "no such probe"),
        ("[health]\nevery_s = 0.1", "every_s"),
        ('[health]\nwithout = ["nothing"]', "there is no such rule"),
        (RULE + "limit = 3", "health.rules[memory-burst].limit"),
        (RULE.replace("suspect = 1", ""), "it has no limit"),
        (RULE.replace('"rise"', '"ratio"'), "`per` names the signal"),
        (RULE.replace('"memory"', '"memori"'), "memori"),
        (RULE + "failing = 0.5", "swap them"),
    ],
)
def test_a_table_of_health_that_cannot_be_meant(tmp_path: Path, table: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        config.load(write(tmp_path, f"{GOOD}{table}\n"))
    assert why in refused.value.why
