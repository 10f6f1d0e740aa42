"""What the runtime is told: limits that the host has, rights that an application gets, its filter of system calls."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from segue.adapters.oci import bundle, seccomp
from segue.adapters.oci.places import AppPlaces
from segue.model.application import Application, Volume
from segue.model.guest import Guest, application

PLACES = AppPlaces("cache1", Path("/run/segue"), Path("/var/lib/segue/apps"))
controllers = st.sets(st.sampled_from(("cpu", "memory", "pids", "io")))


def told(app: Application, limits: Collection[str] = ()) -> dict[str, Any]:
    return bundle.config(guest_of(app), app, PLACES, limits, {})


def guest_of(app: Application) -> Guest:
    return application("cache1", "u", 256 << 20, app, ())


def app_of(**more: Any) -> Application:
    return Application("sha256:00", "redis", ("redis-server",), **more)


@given(controllers, st.floats(0, 64), st.integers(0, 70000))
def test_only_what_the_host_has_is_limited(limits: set[str], cpus: float, uid: int) -> None:
    found = told(app_of(cpus=cpus, uid=uid), limits)["linux"]["resources"]
    assert ("memory" in found) == ("memory" in limits)
    assert ("pids" in found) == ("pids" in limits)
    assert ("cpu" in found) == ("cpu" in limits and cpus > 0)
    if "memory" in found:
        assert found["memory"]["limit"] == found["memory"]["swap"] == 256 << 20
    if "cpu" in found:
        assert found["cpu"]["quota"] / found["cpu"]["period"] <= cpus


@given(st.integers(0, 70000))
def test_nobody_but_root_of_the_container_has_rights_and_nobody_gains_any(uid: int) -> None:
    process = told(app_of(uid=uid))["process"]
    rights = process["capabilities"]
    assert bool(rights["effective"]) == (uid == 0)
    assert not rights["ambient"] + rights["inheritable"]
    assert set(rights["effective"]) <= set(rights["bounding"])
    assert not set(rights["bounding"]) & {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_MKNOD"}
    assert process["noNewPrivileges"] is True


@given(st.floats(0, 64))
def test_a_part_of_a_processor_counts_as_one(cpus: float) -> None:
    guest = guest_of(app_of(cpus=cpus))
    assert max(1, cpus) <= guest.vcpus < max(1, cpus) + 1
    assert guest.is_app
    assert (guest.machine, guest.cpu_model, guest.accelerator, guest.disks) == ("", "", "", ())


def test_a_path_is_there_unless_the_image_has_one() -> None:
    assert told(app_of())["process"]["env"] == [bundle.PATH]
    assert told(app_of(env=("PATH=/x", "A=b")))["process"]["env"] == ["PATH=/x", "A=b"]


def test_volumes_of_its_own_lie_beside_its_files() -> None:
    volumes = (Volume("vol0", "/data"), Volume("vol1", "/words", "/srv/words", read_only=True))
    found = {mount["destination"]: mount for mount in told(app_of(volumes=volumes))["mounts"]}
    assert found["/data"]["source"] == "/var/lib/segue/apps/cache1/volumes/vol0"
    assert found["/words"]["source"] == "/srv/words"
    assert ("ro" in found["/words"]["options"], "ro" in found["/data"]["options"]) == (True, False)


RULES: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_BPF"]}},
        {"names": ["sync_file_range2"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["ppc64le"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ", "comment": "x"}],
        },
    ],
}


def test_a_rule_that_holds_with_a_right_alone_follows_the_right() -> None:
    def rules(*caps: str) -> list[tuple[str, str]]:
        found = seccomp.convert(RULES, caps)["syscalls"]
        return [(name, rule["action"]) for rule in found for name in rule["names"]]

    allow, refuse = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
    rest = [("arch_prctl", allow), ("personality", allow)]
    assert rules() == [("read", allow), ("bpf", refuse), *rest]
    assert rules("CAP_BPF") == [("read", allow), ("bpf", allow), *rest]


def test_the_runtime_is_given_nothing_that_it_does_not_know() -> None:
    found = seccomp.convert(RULES, ())
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert (found["defaultAction"], found["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert {key for rule in found["syscalls"] for key in rule} <= {"names", "action", "errnoRet", "args"}
    assert found["syscalls"][-1]["args"] == [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]


def test_what_a_move_would_take_from_a_program_unseen_is_not_given() -> None:
    """Landlock: a process that is restricted would be free on the other host."""
    both = {"names": ["read", "landlock_restrict_self"], "action": "SCMP_ACT_ALLOW"}
    alone = {"names": ["landlock_create_ruleset"], "action": "SCMP_ACT_ALLOW"}
    found = seccomp.convert({**RULES, "syscalls": [both, alone]}, ())["syscalls"]
    assert [rule["names"] for rule in found] == [["read"]]
