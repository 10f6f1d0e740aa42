"""The doctor's judgement: a healthy host has nothing, one fault gives its finding and no other, none is hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.checkup import AppSigns, Certificate, Folder, HostSigns, Level, PeerSigns
from segue.policy import diagnosis

GIB = 1 << 30
GOOD_CERTIFICATE = Certificate(days_left=300.0, ca_days_left=3000.0, host_names=("host1",))
STATE = Folder("state_dir", "/var/lib/segue", "ext4", 50 * GIB, 100 * GIB)
APPS = Folder("apps_dir", "/var/lib/segue/apps", "ext4", 50 * GIB, 100 * GIB)
PEER = PeerSigns("host2", widest_bytes=1550)
HEALTHY = HostSigns(
    name="host1",
    channels="required",
    qemu_version="10.0.13",
    missing_programs=(),
    compressions=("zlib", "zstd"),
    accelerator="kvm",
    processor_virtualizes=True,
    kvm_fault="",
    userfault="",
    memfd_fault="",
    user_fault="",
    shares_user=False,
    network_faults={"vxlan": "", "clsact": ""},
    conntrack_fault="",
    bridge="br0",
    bridge_there=True,
    bridge_mtu=1500,
    certificate=GOOD_CERTIFICATE,
    folders=(STATE,),
    sync_s=0.002,
    overcommit=0,
    memory_total_bytes=8 * GIB,
    promised_bytes=4 * GIB,
    service="systemd",
    failpoints=False,
    peers=(PEER,),
)


def certified(**change: Any) -> dict[str, Any]:
    return {"certificate": replace(GOOD_CERTIFICATE, **change)}


def apped(**change: Any) -> dict[str, Any]:
    return {"apps": AppSigns(**change)}


def peered(**change: Any) -> dict[str, Any]:
    return {"peers": (replace(PEER, **change),)}


FAULTS: list[tuple[dict[str, Any], Level, str, str]] = [
    ({"missing_programs": ("qemu-img",)}, Level.FAIL, "qemu", "no qemu-img"),
    ({"compressions": ("zlib",)}, Level.WARN, "qemu", "zstd"),
    ({"accelerator": "tcg", "processor_virtualizes": False}, Level.WARN, "kvm", "vmx or svm"),
    ({"accelerator": "tcg"}, Level.WARN, "kvm", "modprobe"),
    ({"kvm_fault": "no group"}, Level.FAIL, "kvm", "no group"),
    ({"user_fault": "there is no user segue-qemu"}, Level.FAIL, "user", "there is no user"),
    ({"shares_user": True}, Level.WARN, "user", "qemu_uids"),
    ({"userfault": "no group"}, Level.WARN, "post-copy", "no group"),
    ({"memfd_fault": "not implemented"}, Level.FAIL, "memory", "not implemented"),
    ({"network_faults": {"vxlan": "not supported"}}, Level.FAIL, "network", "vxlan does not work"),
    ({"conntrack_fault": "refused"}, Level.WARN, "network", "refused"),
    ({"bridge_there": False}, Level.FAIL, "network", "no bridge br0"),
    (certified(unreadable="no such file"), Level.FAIL, "certificate", "no such file"),
    (certified(signed_by_ca=False), Level.FAIL, "certificate", "did not sign"),
    (certified(host_names=("host9",)), Level.FAIL, "certificate", "names host9"),
    (certified(days_left=-2.0), Level.FAIL, "certificate", "2 days ago"),
    (certified(days_left=3.0), Level.WARN, "certificate", "3 days are left"),
    (certified(ca_days_left=-1.0), Level.FAIL, "certificate", "the CA has expired"),
    (certified(key_others_may_read=True), Level.FAIL, "certificate", "chmod 600"),
    ({"channels": "off"}, Level.WARN, "channels", "in plain"),
    ({"failpoints": True}, Level.WARN, "failpoints", "root"),
    ({"folders": (replace(STATE, fault="not there"),)}, Level.FAIL, "storage", "not there"),
    ({"folders": (replace(STATE, free_bytes=GIB // 2),)}, Level.WARN, "storage", "nearly full"),
    ({"folders": (replace(STATE, file_system="tmpfs"),)}, Level.FAIL, "journal", "could run one twice"),
    ({"sync_s": 1e-7}, Level.FAIL, "journal", "does not sync"),
    ({"sync_s": 0.3}, Level.WARN, "journal", "300 ms"),
    ({"overcommit": 2}, Level.WARN, "memory", "overcommit"),
    ({"promised_bytes": 9 * GIB}, Level.FAIL, "memory", "more is promised"),
    ({"service": ""}, Level.WARN, "service", "nobody starts"),
    (apped(missing_programs=("crun", "umoci")), Level.WARN, "applications", "apt-get install crun umoci"),
    (apped(move_fault="it has no criu"), Level.WARN, "applications", "criu"),
    (apped(filters=False), Level.WARN, "applications", "every system call"),
    (apped(missing_limits=("memory", "cpu")), Level.WARN, "applications", "no limit of memory, cpu"),
    (apped(cgroup_fault="read-only"), Level.WARN, "applications", "read-only"),
    (apped(own_mounts=True), Level.WARN, "applications", "applications.conf"),
    (
        {"folders": (STATE, replace(APPS, file_system="overlay"))},
        Level.WARN,
        "applications",
        "overlay itself",
    ),
    (peered(fault="no answer"), Level.FAIL, "peer host2", "no answer"),
    (peered(fault="expired", not_trusted=True), Level.FAIL, "peer host2", "certificate"),
    (peered(misfits=("[tls] channels is 'off'",)), Level.FAIL, "peer host2", "channels"),
    (peered(clock_offset_s=-90.0), Level.WARN, "peer host2", "90.0 s apart"),
    (peered(widest_bytes=1500), Level.WARN, "peer host2", "1500 bytes pass"),
    (peered(widest_bytes=0), Level.WARN, "peer host2", "not known"),
]


def test_a_healthy_host() -> None:
    findings = diagnosis.examine(HEALTHY)
    assert {finding.level for finding in findings} == {Level.OK}
    assert diagnosis.worst(findings) is Level.OK


@pytest.mark.parametrize(("change", "level", "check", "word"), FAULTS)
def test_one_fault_is_one_finding(change: dict[str, Any], level: Level, check: str, word: str) -> None:
    findings = diagnosis.examine(replace(HEALTHY, **change))
    (bad,) = [finding for finding in findings if finding.level is not Level.OK]
    assert (bad.level, bad.check) == (level, check)
    assert word in f"{bad.what}; {bad.why}; {bad.todo}"
    assert bad.why
    assert bad.todo
    assert diagnosis.worst(findings) is level


@given(st.lists(st.sampled_from(FAULTS), max_size=6))
def test_no_fault_hides_the_level_of_another(faults: list[tuple[dict[str, Any], Level, str, str]]) -> None:
    """Later changes overwrite earlier ones of the same sign; the worst of those that count is what is said."""
    signs = HEALTHY
    faults = list({fault[2]: fault for fault in faults}.values())  # One check says one thing at a time.
    merged: dict[str, Any] = {}
    for change, *_ in faults:
        merged |= change
    findings = diagnosis.examine(replace(signs, **merged))
    counted = [level for change, level, *_ in faults if all(merged[key] is change[key] for key in change)]
    if Level.FAIL in counted:
        assert diagnosis.worst(findings) is Level.FAIL


@given(st.floats(-1e4, 1e4))
def test_days_of_a_certificate(days: float) -> None:
    findings = diagnosis.examine(replace(HEALTHY, **certified(days_left=days)))
    wanted = Level.FAIL if days <= 0 else Level.WARN if days < diagnosis.CERTIFICATE_DAYS else Level.OK
    assert diagnosis.worst(findings) is wanted


@given(st.floats(-100, 100), st.floats(0, 10))
def test_a_clock_is_only_blamed_beyond_what_the_measurement_allows(offset_s: float, within_s: float) -> None:
    seen = peered(clock_offset_s=offset_s, clock_uncertainty_s=within_s)
    blamed = diagnosis.worst(diagnosis.examine(replace(HEALTHY, **seen))) is Level.WARN
    assert blamed == (abs(offset_s) - within_s > diagnosis.CLOCK_S)
