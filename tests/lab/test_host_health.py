"""A host of the lab whose hardware is shown by files: its memory begins to fail, and the host says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.lab.api import Lab
from tests.lab.conftest import wait_until

pytestmark = pytest.mark.lab

HARDWARE: Final = "/root/hardware"
DIMM: Final = f"{HARDWARE}/sys/devices/system/edac/mc/mc0/dimm0"
MAKE: Final = f"""
mkdir -p {DIMM} {HARDWARE}/sys/block/sda/device {HARDWARE}/sys/class/net/eno1/device
echo DIMM_A1 > {DIMM}/dimm_label
echo 4 > {DIMM}/dimm_ce_count
echo 0 > {DIMM}/dimm_ue_count
echo '6,1,1000,-;sd 0:0:0:0: [sda] Attached SCSI disk' > {HARDWARE}/kmsg
cat >> /etc/segue/agent.toml <<EOF

[health]
sysfs = "{HARDWARE}/sys"
kmsg = "{HARDWARE}/kmsg"
every_s = 1
EOF
sv -w 20 restart segue-agent
"""
LIMIT_S: Final = 40.0


class Host:
    """host1, as a user of the command line sees it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._environ = {**os.environ, "SEGUE_CONTEXT": str(lab.places.context)}
        self._argv = [sys.executable, "-m", "segue", "host", "health", "host1", "-o", "json"]

    def sh(self, script: str) -> None:
        self.lab.exec("host1", ["sh", "-ec", script], check=True)

    def count(self, corrected: object) -> None:
        self.sh(f"echo {corrected} > {DIMM}/dimm_ce_count")

    def health(self, *more: str) -> tuple[int, dict[str, Any]]:
        """Exit code and answer; no answer from an agent that is just starting."""
        done = subprocess.run(
            [*self._argv, *more], env=self._environ, capture_output=True, text=True, check=False, timeout=30
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {
            "level": done.stderr,
            "parts": [],
        }

    def watch(self, out: Path) -> subprocess.Popen[bytes]:
        with out.open("wb") as file:
            # Whoever runs the tests in the background has them ignore Ctrl-C, and so would it.
            argv = ["env", "--default-signal=INT", *self._argv, "--watch"]
            return subprocess.Popen(argv, env=self._environ, stdout=file)

    def wait(self, level: str, part: str, part_level: str) -> tuple[int, dict[str, Any]]:
        """Until the host and one of its parts are so."""
        until_s = time.monotonic() + LIMIT_S
        while True:
            code, seen = self.health()
            found = {one["part"]: one["level"] for one in seen["parts"]}
            if (seen["level"], found.get(part)) == (level, part_level):
                return code, seen
            assert time.monotonic() < until_s, (level, seen["level"], found)
            time.sleep(0.2)


def reasons(seen: dict[str, Any], part: str) -> dict[str, str]:
    return {
        reason["rule"]: reason["text"]
        for one in seen["parts"]
        if one["part"] == part
        for reason in one["reasons"]
    }


@pytest.fixture
def host(labs_folder: Path) -> Iterator[Host]:
    made = Lab(f"hhealth{os.getpid()}")
    try:
        made.up(hosts=1, clients=0, images=())
        yield Host(made)
    finally:
        made.down()


def levels(printed: str) -> list[str]:
    """The levels in the answers that `--watch` printed one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while printed[at:].strip():
        at += len(printed[at:]) - len(printed[at:].lstrip())
        try:
            seen, at = decoder.raw_decode(printed, at)
        except ValueError:  # The last one is just being written.
            break
        found.append(seen["level"])
    return found


@pytest.mark.slow
def test_corrected_errors_rise_until_the_host_is_failing(host: Host, tmp_path: Path) -> None:
    wait_until(lambda: "host" in host.health()[1], "the agent answers")
    host.sh(MAKE)
    code, seen = host.wait("healthy", "memory/DIMM_A1", "healthy")
    assert code == 0
    watched = tmp_path / "watched"
    watching = host.watch(watched)

    def told() -> list[str]:
        return levels(watched.read_text())

    try:
        wait_until(told, "--watch says something")
        host.count(41)
        code, seen = host.wait("suspect", "memory/DIMM_A1", "suspect")
        assert code == 0
        text = reasons(seen, "memory/DIMM_A1")["memory-burst"]
        assert text == "DIMM_A1: 37 corrected errors in the last 1 h, limit 10"
        wait_until(lambda: told()[-1] == "suspect", "--watch says suspect")
        host.count(70)
        code, seen = host.wait("failing", "memory/DIMM_A1", "failing")
        assert code == 4
        text = reasons(seen, "memory/DIMM_A1")["memory-burst"]
        assert text == "DIMM_A1: 66 corrected errors in the last 1 h, limit 50"
        assert seen["text"] == text
        wait_until(lambda: told()[-1] == "failing", "--watch says failing")
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(10)
    assert list(dict.fromkeys(told())) == ["healthy", "suspect", "failing"]
    host.sh(f"echo noise > {DIMM}/dimm_ce_count; sv -w 20 restart segue-agent")
    _, seen = host.wait("failing", "memory/DIMM_A1", "failing")
    wait_until(lambda: "'noise' is not a number" in str(host.health()[1]["blind"]), "the noise is said")
    host.count(70)
    _, seen = host.health("--rectified", "memory/DIMM_A1")
    host.wait("healthy", "memory/DIMM_A1", "healthy")
    lines = "".join(
        f"3,{n},{n}000,-;I/O error, dev sda, sector {n} op 0x0:(READ) flags 0x0\\n" for n in range(2, 14)
    )
    host.sh(f"printf '{lines}' >> {HARDWARE}/kmsg")
    _, seen = host.wait("failing", "disk/sda", "failing")
    assert reasons(seen, "disk/sda")["disk-io-errors"].startswith("sda: 12 I/O errors in the kernel's log")
    table = subprocess.run(
        [sys.executable, "-m", "segue", "host", "health", "host1"],
        env={**os.environ, "SEGUE_CONTEXT": str(host.lab.places.context)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "failing" in table.stdout
    assert "host1 is failing" in table.stderr
