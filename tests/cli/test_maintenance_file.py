"""The order of a maintenance as people write it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from segue.cli import maintenance_file
from segue.errors import Refused
from segue.model.maintenance import Order, Step, StepKind
from segue.policy import procedure

FULL = """
name: feed-a
title: a new UPS
scope: {domain: feed=a}
window: {begins: 2026-11-28T02:00:00+01:00, ends: "2026-11-28T04:00:00+01:00"}
strategy:
  at_once: 0
  per_domain: {rack: 2}
  moves_per: {tenant: 3}
  canary: 1
  bake: 10m
  alerts: {prometheus: "http://prometheus:9090", query: up == 0}
  failures: 2
  parallel: 8
  max_blackout: 50ms
procedure:
  - cordon
  - drain: {within: 1h}
  - run: apt-get -y dist-upgrade
    name: upgrade
    within: 30m
    takes: 5m
    retries: 2
  - reboot: {when: wanted}
  - uncordon
"""


def read(tmp_path: Path, text: str) -> Order:
    path = tmp_path / "order.yaml"
    path.write_text(text)
    return maintenance_file.load(str(path))


PLAY: Final = """
- name: a mark that stays
  hosts: all
  gather_facts: false
  tasks:
    - name: write it
      ansible.builtin.copy: {content: "it's $HOME\\n", dest: "%s"}
"""


def played(tmp_path: Path, order: str = "playbook: mark.yml") -> Step:
    (tmp_path / "mark.yml").write_text(PLAY % (tmp_path / "mark"))
    text = "name: m1\nscope: {hosts: [host1]}\nprocedure: [cordon, drain, {%s}, uncordon]\n"
    return read(tmp_path, text % order).procedure[2]


def test_a_playbook_is_a_script_that_has_it_played(tmp_path: Path) -> None:
    step = played(tmp_path)
    assert (step.kind, step.name, step.limit_s) == (StepKind.RUN, "mark", 1800.0)
    assert PLAY.strip() % (tmp_path / "mark") in step.script
    step = played(tmp_path, "playbook: {file: mark.yml, retries: 2}, within: 5m, name: marking")
    assert (step.name, step.retries, step.within_s) == ("marking", 2, 300.0)
    without = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run(
        ["/bin/sh", "-ec", step.script], check=False, env=without, capture_output=True, text=True
    )
    assert (done.returncode, "ansible-playbook is not installed" in done.stderr) == (127, True)
    if shutil.which("ansible-playbook"):
        subprocess.run(["/bin/sh", "-ec", step.script], check=True)
        assert (tmp_path / "mark").read_text() == "it's $HOME\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "no playbook"),
        ("- import: x", "no playbook"),
        ("[", "flow"),
        ("- hosts: all # END_OF_THE_PLAYBOOK", "line"),
    ],
)
def test_what_is_no_playbook_is_refused_before_anything_begins(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "mark.yml").write_text(text)
    with pytest.raises(Refused, match=why):
        read(tmp_path, "name: m1\nscope: {hosts: [host1]}\nprocedure: [drain, {playbook: mark.yml}]\n")
    with pytest.raises(Refused, match="No such file"):
        read(tmp_path, "name: m1\nscope: {hosts: [host1]}\nprocedure: [drain, {playbook: other.yml}]\n")


def test_every_key_arrives(tmp_path: Path) -> None:
    order = read(tmp_path, FULL)
    assert (order.name, order.title, order.scope.label, order.scope.value) == (
        "feed-a", "a new UPS", "feed", "a",
    )  # fmt: skip
    begins = datetime(2026, 11, 28, 1, tzinfo=UTC).timestamp()
    assert (order.window.begins_s, order.window.ends_s) == (begins, begins + 7200)
    strategy = order.strategy
    assert (strategy.at_once, strategy.per_domain, strategy.moves_per) == (0, {"rack": 2}, {"tenant": 3})
    assert (strategy.canary, strategy.bake_s, strategy.failures, strategy.parallel) == (1, 600.0, 2, 8)
    assert (strategy.alerts.prometheus, strategy.alerts.query) == ("http://prometheus:9090", "up == 0")
    assert strategy.limits.blackout_s == 0.05
    cordon, drain, run, reboot, _ = order.procedure
    assert (cordon.kind, drain.within_s) == (StepKind.CORDON, 3600.0)
    assert (run.script, run.name, run.within_s, run.takes_s, run.retries) == (
        "apt-get -y dist-upgrade", "upgrade", 1800.0, 300.0, 2,
    )  # fmt: skip
    assert reboot.when_wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: x\nprocedure: [drain]", "`scope`"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [explode]", "no step `explode`"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [{run: a, reboot: b}]", "one of"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [{run: a, whithin: 3s}]", "one of"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [{drain: {whithin: 3s}}]", "no key whithin"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [{reboot: , when: never}]", "always or wanted"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [drain]\nwindow: {ends: tomorrow}", "tomorrow"),
        ("name: x\nscope: {hosts: [h]}\nprocedure: [drain]\nstrategy: {bake: long}", "'long'"),
        ("name: x\nscope: {domain: feed}\nprocedure: [drain]", "label with its value"),
        ("name: [", "while parsing"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_place(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        read(tmp_path, text)
    assert why in refused.value.why


@pytest.mark.parametrize("name", maintenance_file.names())
def test_a_ready_made_procedure_can_be_named_or_copied_and_is_sound(tmp_path: Path, name: str) -> None:
    head = "name: m\nscope: {hosts: [h]}\n"
    if name == "firmware-update":
        head += "with: {image: 'https://files.example/bios.bin', version: '1.10'}\n"
    named = read(tmp_path, f"{head}procedure: {name}")
    assert named == read(tmp_path, head + maintenance_file.ready_made(name))
    assert procedure.faults(named.procedure) == ()
    assert maintenance_file.purpose(name)
    for step in named.procedure:
        subprocess.run(["sh", "-n"], input=step.script, text=True, check=True)


def test_firmware_is_named_in_the_order_as_text(tmp_path: Path) -> None:
    head = "name: m\nscope: {hosts: [h]}\n"
    with pytest.raises(Refused, match="takes image, version under `with`; found: nothing"):
        read(tmp_path, head + "procedure: firmware-update")
    with pytest.raises(Refused, match="got `float`"):
        read(tmp_path, head + "procedure: firmware-update\nwith: {image: 'http://f/x', version: 1.10}")
    with pytest.raises(Refused, match="write it in quotes"):
        read(tmp_path, head + "procedure: [{firmware: 'http://f/x', version: 1.10}]")
    text = (
        "procedure: [cordon, drain, {firmware: 'http://f/x', target: NIC.1, version: '1.10', graceful: 1m}]"
    )
    step = read(tmp_path, head + text).procedure[-1]
    assert (step.image, step.target, step.version, step.graceful_s) == ("http://f/x", "NIC.1", "1.10", 60.0)
    assert procedure.faults(read(tmp_path, head + text.replace("http://f/x", "gopher://f/x")).procedure)


def test_firmware_is_a_url_or_a_file_or_both(tmp_path: Path) -> None:
    def step(text: str) -> Step:
        order = read(tmp_path, f"name: m\nscope: {{hosts: [h]}}\nprocedure: [cordon, drain, {{{text}}}]")
        assert procedure.faults(order.procedure) == ()
        return order.procedure[-1]

    assert (step("firmware: bios.bin").file, step("firmware: /srv/bios.bin").image) == ("bios.bin", "")
    both = step(f"firmware: 'http://f/x', file: bios.bin, sha256: {'a' * 64}")
    assert (both.image, both.file, both.sha256) == ("http://f/x", "bios.bin", "a" * 64)
    assert step("firmware: {file: bios.bin}").file == "bios.bin"
    with pytest.raises(Refused, match=r"one file; found: a\.bin, b\.bin"):
        step("firmware: a.bin, file: b.bin")


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (Step(StepKind.FIRMWARE), "needs the URL of an image, by .*, or a file"),
        (Step(StepKind.FIRMWARE, file="x", sha256="ab"), "sha256 only beside a file, and of 64 digits"),
        (Step(StepKind.FIRMWARE, image="http://f/x", sha256="a" * 64), "sha256 only beside a file"),
        (Step(StepKind.POWER_CYCLE, file="x"), "brings no firmware"),
    ],
)
def test_what_makes_no_sense_of_firmware_is_a_fault(step: Step, fault: str) -> None:
    found = procedure.faults((Step(StepKind.CORDON), Step(StepKind.DRAIN), step))
    assert len(found) == 1
    assert re.search(fault, found[0])


def test_a_procedure_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        read(tmp_path, "name: m\nscope: {hosts: [h]}\nprocedure: ../secrets")
    assert "security-updates" in refused.value.why


def test_the_notice_is_the_guests(tmp_path: Path) -> None:
    text = "name: m\nscope: {hosts: [h]}\nprocedure: [cordon]\nstrategy: {notice: 1m}"
    assert read(tmp_path, text).strategy.limits.notice_s == 60.0


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("window: {begins: 22:00}\nprocedure: [cordon]", "1320 is no time"),
        ("window: {begins: .nan}\nprocedure: [cordon]", "nan is no time"),
        ("window: {ends: .inf}\nprocedure: [cordon]", "inf is no time"),
        ("procedure: [{run: [reboot, now]}]", "`run` takes text"),
        ("procedure: [{run: true}]", "`run` takes text"),
        ("procedure: [{run: 'true', when: [1]}]", "`when` is always or wanted"),
        ("procedure: [{run: 'true', retries: 1.5}]", "`retries` is a whole number"),
        ("procedure: [{run: 'true', retries: many}]", "`retries` is a whole number"),
    ],
)
def test_what_yaml_makes_something_else_of_is_refused(tmp_path: Path, wrong: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(tmp_path, f"name: m1\nscope: {{hosts: [host1]}}\n{wrong}\n")
