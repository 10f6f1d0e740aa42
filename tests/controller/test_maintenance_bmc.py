"""Steps that a host's BMC does, by the real emulator: power, firmware, and a bad BMC that is seen first."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from segue.errors import Refused
from tests.adapters.emulated import PASSWORD, Machine
from tests.controller.maintained import MaintainedHost
from tests.controller.rig import Rig
from tests.controller.test_maintenance import begun, report
from tests.controller.toy import GIB

IMAGE = "http://files.example/bios-1.1.0.bin"


def order(*steps: dict[str, Any]) -> dict[str, Any]:
    around = [{"kind": "cordon"}, {"kind": "drain"}, *steps, {"kind": "verify"}, {"kind": "uncordon"}]
    return {"name": "m1", "scope": {"hosts": ["host1"]}, "procedure": around}


async def fleet(rig: Rig, machine: Machine, *controllers: str) -> tuple[MaintainedHost, MaintainedHost]:
    """Two hosts; the first has a BMC, and is there while that gives it power."""
    text = f'[host1]\nurl = "{machine.url}"\nuser = "segue"\npassword_file = "bmc.password"\n'
    (rig.folder.path / "bmc.toml").write_text(text)
    (rig.folder.path / "bmc.password").write_text(PASSWORD)
    rig.world.move_s = 0.2
    for name in controllers or ("c1",):
        rig.start(name)
    one, two = [await MaintainedHost.made(rig, name) for name in ("host1", "host2")]
    one.plug_into(machine.folder / "on")
    one.add("g0", GIB // 4)
    await rig.up(2)
    await rig.until("the guest is known", lambda: rig.caller().call("GET", "/status")["guests"] == 1)
    return one, two


@pytest.mark.slow
async def test_a_host_is_switched_off_and_on_while_its_guest_is_elsewhere(rig: Rig, machine: Machine) -> None:
    one, two = await fleet(rig, machine)
    ended = await rig.ended(await begun(rig, order({"kind": "power-cycle", "graceful_s": 5.0})), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    assert (one.boots, one.ended, one.names(), two.names()) == (1, [], [], ["g0"])
    passed = {p["title"]: p["note"] for p in (await report(rig))["host1"]["passed"]}
    assert passed["power-cycle"].startswith("it shut down by itself; back after ")
    assert one.closed_when_off == ["is about to lose its power"], "no guest could start there any more"


@pytest.mark.slow
async def test_who_does_not_hear_the_button_loses_its_power(rig: Rig, machine: Machine) -> None:
    one, _ = await fleet(rig, machine)
    (machine.folder / "deaf").touch()
    ended = await rig.ended(await begun(rig, order({"kind": "power-cycle", "graceful_s": 1.0})), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    passed = {p["title"]: p["note"] for p in (await report(rig))["host1"]["passed"]}
    assert passed["power-cycle"].startswith("its power was taken after 1 s")
    assert one.boots == 1


async def test_firmware_is_brought_and_the_versions_are_compared(rig: Rig, machine: Machine) -> None:
    one, two = await fleet(rig, machine)
    machine.has(update_s=1.5)
    flash = {"kind": "firmware", "image": IMAGE, "version": "1.1.0", "graceful_s": 5.0}
    number = await begun(rig, order(flash))
    await rig.until("progress is shown", lambda: "%" in rig.caller().call("GET", f"/tasks/{number}")["note"])
    ended = await rig.ended(number, 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    host = (await report(rig))["host1"]
    assert "firmware of BIOS: 1.0.0 -> 1.1.0" in host["changes"]
    assert (one.boots, one.ended, two.names()) == (1, [], ["g0"])
    again = order(flash) | {"name": "m2"}
    ended = await rig.ended(await begun(rig, again), 60.0)
    assert ended["state"] == "done"
    assert (await report(rig, "m2"))["host1"]["state"] == "skipped"
    assert one.boots == 1, "a host that has it already is left alone"


@pytest.mark.slow
async def test_an_update_that_breaks_fails_the_host_and_its_guest_is_safe(rig: Rig, machine: Machine) -> None:
    one, two = await fleet(rig, machine)
    machine.has(update_s=0.1, breaks="the image's signature is wrong")
    ended = await rig.ended(await begun(rig, order({"kind": "firmware", "image": IMAGE})), 60.0)
    assert ended["state"] == "failed"
    host = (await report(rig))["host1"]
    assert "the image's signature is wrong" in host["why"]
    assert (one.boots, two.names()) == (0, ["g0"])
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]


@pytest.mark.slow
async def test_a_bmc_that_cannot_is_found_before_anything_is_changed(rig: Rig, machine: Machine) -> None:
    one, _ = await fleet(rig, machine)
    (rig.folder.path / "bmc.password").write_text("another")
    wish = order({"kind": "firmware", "image": IMAGE})
    missing = (await rig.call("POST", "/maintenances/plan", wish))["missing"]
    assert "does not take the credentials" in missing[0]
    with pytest.raises(Refused, match="credentials"):
        await begun(rig, wish)
    task = await rig.call("POST", "/maintenances/m1/start", {"force": True})
    assert (await rig.ended(task["id"], 60.0))["state"] == "failed"
    assert "credentials" in (await report(rig))["host1"]["why"]
    assert not (await rig.call("GET", "/hosts/host1"))["cordoned"]
    (rig.folder.path / "bmc.password").write_text(PASSWORD)
    unknown = order({"kind": "firmware", "image": IMAGE, "target": "NIC.1"})
    assert "no version of 'NIC.1'" in (await rig.call("POST", "/maintenances/plan", unknown))["missing"][0]
    machine.end()
    missing = (await rig.call("POST", "/maintenances/plan", wish))["missing"]
    assert "host1" in missing[0]
    assert (one.boots, one.names()) == (0, ["g0"])


@pytest.mark.slow
async def test_another_leader_gives_the_power_back_and_never_takes_it_again(
    rig: Rig, machine: Machine
) -> None:
    one, two = await fleet(rig, machine, "c1", "c2")
    leader = (await rig.call("GET", "/status"))["leader"]
    number = await begun(rig, order({"kind": "power-cycle", "graceful_s": 5.0}))
    await rig.until("the host is off", lambda: not (machine.folder / "on").exists())
    rig.controllers[0 if leader == "c1" else 1].kill()
    ended = await rig.ended(number, 90.0)
    assert ended["state"] == "done", (ended, rig.logs())
    assert (one.boots, one.ended, two.names()) == (1, [], ["g0"])


@pytest.mark.slow
async def test_another_leader_takes_no_power_where_a_guest_runs_by_then(rig: Rig, machine: Machine) -> None:
    one, _ = await fleet(rig, machine, "c1", "c2")
    (machine.folder / "deaf").touch()
    leader = (await rig.call("GET", "/status"))["leader"]
    number = await begun(rig, order({"kind": "power-cycle", "graceful_s": 60.0}))
    await rig.until(
        "it is to go down", lambda: rig.caller().call("GET", "/maintenances/m1")["hosts"][0]["boot"]
    )
    rig.controllers[0 if leader == "c1" else 1].kill()
    one.closed = ""  # So long nobody led.
    one.add("g9", GIB // 4)
    ended = await rig.ended(number, 90.0)
    assert ended["state"] == "failed", (ended, rig.logs())
    assert "guests are here: g9" in (await report(rig))["host1"]["why"]
    assert ((machine.folder / "on").exists(), one.boots, one.ended) == (True, 0, [])


@pytest.mark.slow
async def test_firmware_is_pushed_as_it_was_planned(rig: Rig, machine: Machine) -> None:
    one, two = await fleet(rig, machine)
    folder = rig.folder.path / "firmware"
    wish = order({"kind": "firmware", "file": "bios.bin", "version": "2.0.0", "graceful_s": 5.0})
    assert "bios.bin: No such file" in (await rig.call("POST", "/maintenances/plan", wish))["missing"][0]
    folder.mkdir()
    (folder / "bios.bin").write_bytes(b"")
    assert "bios.bin: it is empty" in (await rig.call("POST", "/maintenances/plan", wish))["missing"][0]
    (folder / "bios.bin").write_bytes(content := b"BIOS 2.0.0\n" + b"x" * 100_000)
    machine.has(ways=["simple"])
    assert "lets no image be pushed" in (await rig.call("POST", "/maintenances/plan", wish))["missing"][0]
    machine.has(ways=["multipart"], update_s=0.5)
    foreseen = await rig.call("POST", "/maintenances/plan", wish)
    sha256 = hashlib.sha256(content).hexdigest()
    assert foreseen["notes"] == [f"{folder / 'bios.bin'}: {len(content)} bytes, sha256 {sha256}"]
    assert not foreseen["missing"]
    kept = await rig.call("PUT", "/maintenances/m1", wish)
    assert kept["order"]["procedure"][2]["sha256"] == sha256
    (folder / "bios.bin").write_bytes(content + b"!")
    with pytest.raises(Refused, match="not the file that was planned"):
        await rig.call("POST", "/maintenances/m1/start", {"force": False})
    assert (machine.hardware.read()["pushes"], one.names()) == (0, ["g0"])
    (folder / "bios.bin").write_bytes(content)
    ended = await rig.ended((await rig.call("POST", "/maintenances/m1/start", {"force": False}))["id"], 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    assert "firmware of BIOS: 1.0.0 -> 2.0.0" in (await report(rig))["host1"]["changes"]
    assert machine.hardware.read()["pushed"]["sha256"] == sha256
    assert (one.boots, one.ended, two.names()) == (1, [], ["g0"])


@pytest.mark.slow
async def test_a_push_that_is_in_doubt_fails_the_host_and_takes_no_power(rig: Rig, machine: Machine) -> None:
    one, two = await fleet(rig, machine)
    (rig.folder.path / "firmware").mkdir()
    (rig.folder.path / "firmware" / "bios.bin").write_bytes(b"BIOS 2.0.0\n" + b"x" * 100_000)
    machine.has(ways=["multipart"], mute=True)
    ended = await rig.ended(await begun(rig, order({"kind": "firmware", "file": "bios.bin"})), 60.0)
    assert ended["state"] == "failed"
    host = (await report(rig))["host1"]
    assert "whether the firmware of host1 is being changed is not known" in host["why"]
    assert (one.boots, two.names(), machine.hardware.read()["pushes"]) == (0, ["g0"], 1)
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]


async def aborted(rig: Rig, number: str) -> str:
    """Why its host's work ended."""
    await rig.call("POST", f"/tasks/{number}/cancel")
    ended = await rig.ended(number, 30.0)
    host = (await report(rig))["host1"]
    assert (ended["state"], host["state"]) == ("cancelled", "aborted"), rig.logs()
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]
    return str(host["why"])


async def noted(rig: Rig, number: str, words: str) -> None:
    await rig.until(words, lambda: words in rig.caller().call("GET", f"/tasks/{number}")["note"])


async def test_an_abort_does_not_wait_for_a_version_that_never_comes(rig: Rig, machine: Machine) -> None:
    one, two = await fleet(rig, machine)
    machine.has(update_s=0.1)
    flash = {"kind": "firmware", "image": IMAGE, "version": "9.9.9", "graceful_s": 5.0}
    number = await begun(rig, order(flash))
    await noted(rig, number, "BIOS is 1.1.0 still")
    why = await aborted(rig, number)
    assert "its BMC says 1.1.0, not 9.9.9; it stays cordoned" in why
    assert ((machine.folder / "on").exists(), one.boots, two.names()) == (True, 1, ["g0"])


@pytest.mark.slow
async def test_an_abort_does_not_end_an_update_that_is_being_written(rig: Rig, machine: Machine) -> None:
    one, _ = await fleet(rig, machine)
    machine.has(update_s=600.0)
    number = await begun(rig, order({"kind": "firmware", "image": IMAGE, "graceful_s": 5.0}))
    await noted(rig, number, "%")
    assert one.closed == "is about to lose its power", "some BMCs start the host anew by themselves"
    assert "its update: running, " in await aborted(rig, number)
    assert one.closed == ""
    assert ((machine.folder / "on").exists(), one.boots) == (True, 0)


@pytest.mark.slow
async def test_an_abort_while_it_goes_down_leaves_it_with_power(rig: Rig, machine: Machine) -> None:
    one, _ = await fleet(rig, machine)
    (machine.folder / "deaf").touch()
    number = await begun(rig, order({"kind": "power-cycle", "graceful_s": 3.0}))
    await noted(rig, number, "it is asked to shut down")
    assert "aborted within `power-cycle`: " in await aborted(rig, number)
    assert (machine.folder / "on").exists()
    await rig.until("it boots", lambda: one.boots == 1)


@pytest.mark.slow
async def test_a_host_that_does_not_get_power_again_is_told(rig: Rig, machine: Machine) -> None:
    await fleet(rig, machine)
    number = await begun(rig, order({"kind": "power-cycle", "graceful_s": 5.0, "within_s": 8.0}))
    await rig.until("it is off", lambda: not (machine.folder / "on").exists())
    (machine.folder / "sticks").touch()
    ended = await rig.ended(number, 120.0)
    assert ended["state"] == "failed"
    why = (await report(rig))["host1"]["why"]
    assert "took longer than 8 s" in why
    assert "it may be without power (it does not come on): `segue host power host1 on`" in why
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]
