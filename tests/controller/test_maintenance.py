"""A maintenance goes through a fleet: hosts empty before they reboot, one failure stops it, another leader ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from segue.controller import host_work, maintaining
from segue.errors import Refused
from segue.model.maintenance import Order, Scope, Step, StepKind, Window
from tests.controller.maintained import MaintainedHost
from tests.controller.rig import Rig
from tests.controller.toy import GIB

STEPS = ("cordon", "drain", "run", "reboot", "health", "verify", "uncordon", "return")


def order(name: str = "m1", *, script: str = "true", **more: Any) -> dict[str, Any]:
    steps = [{"kind": kind, **({"script": script} if kind == "run" else {})} for kind in STEPS]
    return {"name": name, "scope": {"hosts": ["host1", "host2"]}, "procedure": steps, **more}


async def fleet(rig: Rig, hosts: int = 3, guests: int = 4) -> list[MaintainedHost]:
    rig.world.move_s = 0.2
    made = [await MaintainedHost.made(rig, f"host{n + 1}") for n in range(hosts)]
    for number in range(guests):
        made[number % 2].add(f"g{number}", GIB // 4)
    await rig.up(hosts)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == guests)
    return made


async def begun(rig: Rig, wish: dict[str, Any], *, force: bool = False) -> str:
    name = wish["name"]
    await rig.call("PUT", f"/maintenances/{name}", wish)
    task = await rig.call("POST", f"/maintenances/{name}/start", {"force": force})
    return str(task["id"])


async def report(rig: Rig, name: str = "m1") -> dict[str, Any]:
    shown = await rig.call("GET", f"/maintenances/{name}")
    return {host["host"]: host for host in shown["hosts"]}


async def test_two_hosts_are_rebooted_one_after_the_other_and_their_guests_come_home(rig: Rig) -> None:
    rig.start()
    one, two, three = await fleet(rig)
    foreseen = await rig.call("POST", "/maintenances/plan", order())
    assert [batch["hosts"] for batch in foreseen["batches"]] == [["host1"], ["host2"]]
    assert foreseen["missing"] == []
    ended = await rig.ended(await begun(rig, order(script="echo it was here")), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    assert (one.boots, two.boots, three.boots) == (1, 1, 0)
    assert (one.names(), two.names(), three.names()) == (["g0", "g2"], ["g1", "g3"], [])
    hosts = await report(rig)
    for host in hosts.values():
        assert host["state"] == "done"
        assert [passed["title"] for passed in host["passed"]] == list(STEPS)
        assert [p["output"] for p in host["passed"] if p["title"] == "run"] == ["it was here\n"]
    assert hosts["host1"]["ended_s"] <= hosts["host2"]["begun_s"]
    assert not (await rig.call("GET", "/hosts/host1"))["cordoned"]
    # No guest was ever sent to the host whose turn was next.
    assert {target for guest, _, target in rig.world.begun if guest in {"g0", "g2"}} == {"host3", "host1"}


async def test_a_host_that_fails_stays_cordoned_and_no_other_one_begins(rig: Rig) -> None:
    rig.start()
    one, two, _ = await fleet(rig)
    ended = await rig.ended(await begun(rig, order(script="echo broken; exit 3")), 60.0)
    assert ended["state"] == "failed"
    hosts = await report(rig)
    assert hosts["host1"]["state"] == "failed"
    assert "ended with 3" in hosts["host1"]["why"]
    assert hosts["host2"]["state"] == "waiting"
    assert (one.boots, one.names(), two.names()) == (0, [], ["g1", "g3"])
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]


async def test_nothing_to_do_skips_the_rest_and_gives_the_host_back(rig: Rig) -> None:
    rig.start()
    one, two, _ = await fleet(rig)
    wish = order(script="exit 70")
    wish["procedure"].insert(0, wish["procedure"].pop(2))  # before anything is moved
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "done"
    assert {host["state"] for host in (await report(rig)).values()} == {"skipped"}
    assert (one.boots, two.boots, rig.world.begun) == (0, 0, [])
    assert not (await rig.call("GET", "/hosts/host1"))["cordoned"]


async def test_another_leader_goes_on_and_no_command_runs_twice(rig: Rig) -> None:
    rig.start("c1"), rig.start("c2")
    await rig.until("c1 leads", lambda: rig.caller().call("GET", "/status")["leader"] != "")
    leader = (await rig.call("GET", "/status"))["leader"]
    one, two, _ = await fleet(rig)
    script = f"echo once >>{rig.path}/ran; sleep 2"
    number = await begun(rig, order(script=script))
    await rig.until("the command runs", (rig.path / "ran").exists)
    rig.controllers[0 if leader == "c1" else 1].kill()
    ended = await rig.ended(number, 90.0)
    assert ended["state"] == "done", (ended, rig.logs())
    assert (rig.path / "ran").read_text() == "once\n" * 2  # one for each host
    assert (one.boots, two.boots) == (1, 1)


async def test_a_host_that_does_not_come_back_is_reported_and_its_guests_are_safe(rig: Rig) -> None:
    rig.start()
    one, two, _ = await fleet(rig)
    one.does_not_come_back = True
    wish = order()
    wish["procedure"][3]["within_s"] = 3.0
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "failed"
    assert "reboot` took longer" in (await report(rig))["host1"]["why"]
    await rig.up(2)
    assert sorted(guest["name"] for guest in await asyncio.to_thread(rig.caller().all, "/guests")) == [
        "g0", "g1", "g2", "g3",
    ]  # fmt: skip
    assert two.boots == 0


async def test_paused_between_steps_resumed_and_aborted(rig: Rig) -> None:
    rig.start()
    one, two, _ = await fleet(rig)
    number = await begun(rig, order(script="sleep 1.5"))
    await rig.until("a command runs", (rig.path / "host1" / "jobs").is_dir)
    await rig.call("POST", f"/tasks/{number}/pause")
    await asyncio.sleep(3.0)
    assert one.boots == 0
    await rig.call("POST", f"/tasks/{number}/resume")
    await rig.until("it reboots", lambda: one.boots == 1)
    await rig.call("POST", f"/tasks/{number}/cancel")
    ended = await rig.ended(number, 60.0)
    assert ended["state"] == "cancelled"
    hosts = await report(rig)
    assert hosts["host1"]["state"] == "aborted"
    assert "stays cordoned" in hosts["host1"]["why"]
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]
    assert (hosts["host2"]["state"], two.boots) == ("waiting", 0)


async def test_what_is_missing_is_said_before_anything_begins(rig: Rig) -> None:
    rig.start()
    one, two, three = await fleet(rig)
    two.commands = False
    two.jobs = two._jobs()
    one.add("giant", 9 * GIB)
    await rig.until("it is known", lambda: rig.caller().call("GET", "/status")["guests"] == 5)
    await three.lose_link()
    await rig.up(2)
    wish = order(scope={"hosts": ["host1", "host2", "host3"]})
    foreseen = await rig.call("POST", "/maintenances/plan", wish)
    told = "\n".join(foreseen["missing"])
    assert "short of memory" in told
    assert "host2: agent.toml does not let controllers run commands" in told
    assert "host3: its agent is not connected" in told
    await rig.call("PUT", "/maintenances/m1", wish)
    with pytest.raises(Refused, match="is not begun"):
        await rig.call("POST", "/maintenances/m1/start", {})


async def test_orders_that_make_no_sense_are_refused(rig: Rig) -> None:
    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    wish = order()
    wish["procedure"] = [{"kind": "reboot"}, {"kind": "run"}, {"kind": "uncordon"}]
    with pytest.raises(Refused) as refused:
        await rig.call("POST", "/maintenances/plan", wish)
    for word in ("needs `drain` before it", "has no script", "needs `cordon` before it"):
        assert word in refused.value.why
    operator = rig.caller(rig.certificate("operator", "olga"))
    with pytest.raises(Refused, match="an admin"):
        await rig.call("PUT", "/maintenances/m1", order(), operator)


UPDATE = [{"kind": "cordon"}, {"kind": "update-guests"}, {"kind": "uncordon"}]


async def test_guests_get_the_installed_qemu_in_place_or_elsewhere(rig: Rig) -> None:
    rig.start()
    one, _, three = await fleet(rig)
    one.outdated, one.fixed = {"g0", "g2"}, {"g2"}
    wish = order() | {"procedure": UPDATE}
    assert (await rig.call("POST", "/maintenances/plan", wish))["missing"] == []
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    # host2 has not had its turn yet: it may have the old QEMU still.
    assert sorted(rig.world.begun) == [("g0", "host1", "host1"), ("g2", "host1", "host3")]
    notes = {
        name: [p["note"] for p in host["passed"] if p["title"] == "update-guests"]
        for name, host in (await report(rig)).items()
    }
    assert notes == {
        "host1": ["1 guests updated in place; moved instead: g2 to host3"],
        "host2": ["every guest runs in the QEMU that is installed"],
    }
    assert (one.names(), three.names()) == (["g0"], ["g2"])


async def test_a_guest_that_keeps_its_old_qemu_fails_the_host_and_runs_on(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig, hosts=1, guests=1)
    one.outdated, one.fixed = {"g0"}, {"g0"}
    wish = order() | {"scope": {"hosts": ["host1"]}, "procedure": UPDATE}
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "failed"
    assert "g0: its virtio queues are too large" in ended["note"]
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]
    assert one.names() == ["g0"]


@pytest.mark.slow
async def test_a_command_that_is_late_is_tried_again_and_its_output_is_kept(rig: Rig) -> None:
    rig.start()
    await fleet(rig, hosts=2, guests=1)
    tried = rig.path / "tried"
    wish = order(script=f"echo this time; [ -e {tried} ] || {{ touch {tried}; sleep 300; }}")
    wish |= {"scope": {"hosts": ["host1"]}}
    wish["procedure"][2] |= {"within_s": 1.5, "retries": 1}
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    wish["procedure"][2] |= {"script": "echo stuck; sleep 300", "retries": 0}
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "failed"
    [host] = (await report(rig)).values()
    assert "it did not end within 1.5 s" in host["why"]
    assert host["passed"][-1]["output"] == "stuck\n"


@pytest.mark.slow
async def test_an_agent_that_answers_nonsense_fails_its_host_and_nothing_hangs(rig: Rig) -> None:
    rig.start()
    one, two, _ = await fleet(rig)
    one.nonsense = True
    wish = order(strategy={"failures": 0})
    ended = await rig.ended(await begun(rig, wish, force=True), 60.0)
    assert ended["state"] == "partial", (ended, rig.logs())
    hosts = await report(rig)
    assert "nobody foresaw" in hosts["host1"]["why"]
    assert (hosts["host2"]["state"], one.boots, two.boots) == ("done", 0, 1)


@pytest.mark.slow
async def test_a_host_that_leaves_the_fleet_in_the_middle_fails_alone(rig: Rig) -> None:
    rig.start()
    await fleet(rig)
    running = rig.path / "runs"
    wish = order(script=f"touch {running}; sleep 3", strategy={"at_once": 2, "failures": 0})
    wish["scope"]["hosts"].append("host3")
    number = await begun(rig, wish)
    await rig.until("a script runs", running.exists)
    await rig.call("PATCH", "/hosts/host1", {"revoked": True})
    ended = await rig.ended(number, 90.0)
    assert ended["state"] == "partial", (ended, rig.logs())
    hosts = await report(rig)
    assert "host1 was taken out of the fleet" in hosts["host1"]["why"]
    assert (hosts["host2"]["state"], hosts["host3"]["state"]) == ("done", "done")


@pytest.mark.slow
async def test_what_is_compared_is_noted_before_the_first_step(rig: Rig) -> None:
    rig.start()
    await fleet(rig, hosts=2, guests=1)
    wish = order(script="true") | {"scope": {"hosts": ["host1"]}}
    wish["procedure"] = [{"kind": "run", "script": "true"}, {"kind": "verify"}]
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    [host] = (await report(rig)).values()
    assert host["before"]["boot"] == "host1-boot0"


@pytest.mark.slow
async def test_an_update_whose_answer_was_lost_is_followed_to_its_end(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig, hosts=1, guests=1)
    late_s = host_work.ANSWER_S + 2.0
    rig.world.move_s, one.answers_after_s, one.outdated = late_s + 5.0, late_s, {"g0"}
    wish = order() | {"scope": {"hosts": ["host1"]}, "procedure": UPDATE}
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "done", (ended, rig.logs())
    assert rig.world.begun == [("g0", "host1", "host1")]


@pytest.mark.slow
async def test_what_guests_noticed_is_reported_of_an_aborted_drain_too(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig)
    number = await begun(rig, order(strategy={"parallel": 1}))
    await rig.until("a guest has left", lambda: len(one.names()) == 1)
    await rig.call("POST", f"/tasks/{number}/cancel")
    assert (await rig.ended(number, 60.0))["state"] == "cancelled"
    host = (await report(rig))["host1"]
    assert host["state"] == "aborted"
    assert {outage["guest"] for outage in host["outages"]} == {"g0", "g2"} - set(one.names())


@pytest.mark.slow
async def test_a_host_whose_installed_qemu_cannot_be_used_is_not_given_back(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig, hosts=1, guests=1)
    one.qemu_is_gone = True
    wish = order() | {"scope": {"hosts": ["host1"]}, "procedure": UPDATE}
    ended = await rig.ended(await begun(rig, wish), 60.0)
    assert ended["state"] == "failed"
    assert "this host's QEMU cannot be used" in ended["note"]
    assert (await rig.call("GET", "/hosts/host1"))["cordoned"]


@pytest.mark.slow
async def test_while_it_is_paused_no_other_guest_gets_its_qemu(rig: Rig) -> None:
    rig.start()
    one, *_ = await fleet(rig, hosts=1, guests=1)
    one.add("g1", GIB // 4)
    await rig.until("both are known", lambda: rig.caller().call("GET", "/status")["guests"] == 2)
    rig.world.move_s, one.outdated = 1.0, {"g0", "g1"}
    wish = order() | {"scope": {"hosts": ["host1"]}, "procedure": UPDATE}
    number = await begun(rig, wish)
    await rig.until("the first one has begun", lambda: rig.world.begun)
    await rig.call("POST", f"/tasks/{number}/pause")
    await asyncio.sleep(3.0)
    assert [guest for guest, *_ in rig.world.begun] == ["g0"]
    await rig.call("POST", f"/tasks/{number}/resume")
    assert (await rig.ended(number, 60.0))["state"] == "done"
    assert [guest for guest, *_ in rig.world.begun] == ["g0", "g1"]


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_times_that_are_no_numbers_are_refused(figure: float) -> None:
    steps = (Step(StepKind.RUN, script="true"),)
    for odd in (
        Order("m1", Scope(hosts=("host1",)), steps, Window(begins_s=figure)),
        Order("m1", Scope(hosts=("host1",)), steps, Window(ends_s=figure)),
        Order("m1", Scope(hosts=("host1",)), (Step(StepKind.RUN, script="true", takes_s=figure),)),
    ):
        with pytest.raises(Refused, match="no number"):
            maintaining.demand_sound(odd)
