"""What BMCs see counts as what agents say, whoever leads; a domain of which a person warns takes guests last."""

from __future__ import annotations

from typing import Any

import pytest

from segue.errors import Refused
from tests.adapters.emulated import PASSWORD, Machine
from tests.controller.rig import Rig

LOST = {"State": "UnavailableOffline", "Health": "Critical"}
LIMIT_S = 150.0


def knows(rig: Rig, machine: Machine) -> None:
    text = f'[host1]\nurl = "{machine.url}"\nuser = "segue"\npassword_file = "bmc.password"\n'
    (rig.folder.path / "bmc.toml").write_text(text)
    (rig.folder.path / "bmc.password").write_text(PASSWORD)


def get(rig: Rig, path: str) -> Any:
    return rig.caller().call("GET", path)


async def test_a_warned_domain_takes_guests_last_until_it_is_mended(rig: Rig, machine: Machine) -> None:
    knows(rig, machine)
    rig.start()
    await rig.host("host1", {"feed": "a"}), await rig.host("host2", {"feed": "b"})
    (await rig.host("host3")).add("g0")
    await rig.up(3)
    await rig.until("the guest is known", lambda: get(rig, "/status")["guests"] == 1)
    where = {"guest": "g0"}
    assert (await rig.call("POST", "/placements", where))["host"] == "host1"
    parts = await rig.until("its sensors are seen", lambda: get(rig, "/hosts/host1/sensors")["parts"])
    assert {"power/PSU 1", "power/PSU 2"} <= {part["part"] for part in parts}
    path = "/domains/feed/a/warning"
    with pytest.raises(Refused, match="no host has the label feed=c"):
        await rig.call("PUT", "/domains/feed/c/warning", {"reason": "x"})
    await rig.call("PUT", path, {"reason": "UPS 1 is out"})
    await rig.call("PUT", path, {"reason": "UPS 2 is out"})
    assert [one["reason"] for one in (await rig.call("GET", "/warnings"))["items"]] == ["UPS 2 is out"]
    answer = (await rig.call("GET", "/health"))["answer"]
    assert answer["taints"] == {"host1": {"name": "health", "hard": False}}
    assert answer["alerts"] == ["host1 may have no spare: feed=a: UPS 2 is out (admin)"]
    assert (await rig.call("POST", "/placements", where))["host"] == "host2"
    await rig.call("DELETE", path)
    assert (await rig.call("GET", "/health"))["answer"]["taints"] == {}


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_lost_supply_makes_its_host_suspect_also_for_the_next_leader(
    rig: Rig, machine: Machine
) -> None:
    knows(rig, machine)
    rig.start("c1"), rig.start("c2")
    await rig.host("host1"), await rig.host("host2")
    await rig.up(2)
    well = {"State": "Enabled", "Health": "OK"}
    machine.has(supplies=[{"Name": "PSU 1", "Status": well}, {"Name": "PSU 2", "Status": LOST}])

    def level() -> Any:
        return {one["host"]: one["level"] for one in get(rig, "/health")["reports"]}.get("host1")

    await rig.until("it is suspect", lambda: level() == "suspect", LIMIT_S)
    since = [one["since_s"] for one in get(rig, "/health")["reports"] if one["host"] == "host1"]
    leader = get(rig, "/status")["leader"]
    rig.controllers[0 if leader == "c1" else 1].kill()
    await rig.until("another one leads", lambda: get(rig, "/status")["leader"] not in {"", leader}, LIMIT_S)
    await rig.until("it has looked", lambda: level() is not None)
    assert level() == "suspect"
    assert [one["since_s"] for one in get(rig, "/health")["reports"] if one["host"] == "host1"] == since
    machine.has(supplies=[{"Name": f"PSU {n}", "Status": well} for n in (1, 2)])
    await rig.until("its eye is open again", lambda: get(rig, "/hosts/host1/sensors")["parts"])
    await rig.call("POST", "/hosts/host1/sensors/rectified", {"part": "power/PSU 2"})
    await rig.until("it is well", lambda: level() == "healthy", LIMIT_S)
