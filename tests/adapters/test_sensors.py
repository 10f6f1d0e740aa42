"""Supplies, fans and temperatures by the real client: from the emulator, and from what a server's BMC once answered.

The recording is of an HPE Edgeline e930t (iLO 6) whose second supply has lost its feed, as its owner published it;
names, serial numbers and all that nobody looks at are left out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from segue.adapters.fence.sensors import Sensors
from segue.controller import sensor_rules
from segue.errors import Refused
from segue.model.fencing import Bmc
from segue.model.health import Health, History, Level, Memory, Sample
from segue.policy import health, health_series
from tests.adapters.emulated import Machine

RULES = sensor_rules.load(None)

RECORDED = Path(__file__).parent / "samples" / "ilo6-psu-lost.json"
LOST = {"State": "UnavailableOffline", "Health": "Critical"}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.end()


def told(sample: Sample) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for reading in sample.readings:
        found.setdefault(reading.part.key, {})[reading.signal] = reading.value
    return found


def judged(*samples: Sample) -> Health:
    """As if each had been seen for ten minutes."""
    history, memory, now_s = History(), Memory(), 1e9
    for sample in samples:
        for _ in range(20):
            now_s += 30
            history = health_series.add(history, sample, now_s, "", health.spans(RULES))
            memory, verdicts = health.judge(RULES, history, memory, now_s)
    return health.of_host("host1", verdicts, history, memory, now_s)


def supplies(*status: dict[str, str]) -> list[dict[str, Any]]:
    return [{"Name": f"PSU {n}", "Status": each} for n, each in enumerate(status, start=1)]


def test_one_of_two_supplies_is_a_warning_and_both_are_more(machine: Machine) -> None:
    eye = Sensors("host1", machine.bmc())
    well = eye.look()
    assert not well.blind
    assert {"power/PSU 1", "power/PSU 2", "fan/BaseBoard System Fan", "temperature/CPU Temp"} <= told(
        well
    ).keys()
    assert judged(well).level is Level.HEALTHY
    machine.has(supplies=supplies({"State": "Enabled", "Health": "OK"}, LOST))
    seen = judged(well, eye.look())
    assert (seen.level, seen.text) == (Level.SUSPECT, "PSU 2: alarm 1 for 1 min, limit 1")
    machine.has(supplies=supplies(LOST, LOST))
    assert judged(well, eye.look()).level is Level.FAILING
    machine.has(supplies=supplies({"State": "Enabled", "Health": "OK"}, {"State": "Absent"}))
    pulled = judged(well, eye.look())
    assert (pulled.level, pulled.text.partition(":")[0]) == (Level.SUSPECT, "PSU 2")
    assert judged(eye.look()).level is Level.HEALTHY, "a slot that was always empty"


def test_heat_and_fans_are_seen_and_nonsense_is_not_believed(machine: Machine) -> None:
    machine.has(
        fans=[{"Name": "Fan 1", "Reading": 0, "ReadingUnits": "RPM", "Status": {"Health": "Warning"}}],
        temperatures=[
            {
                "Name": "CPU",
                "ReadingCelsius": 96,
                "UpperThresholdCritical": 95,
                "Status": {"State": "Enabled"},
            },
            {"Name": "Inlet", "ReadingCelsius": 250, "Status": {"State": "Enabled"}},
        ],
    )
    sample = Sensors("host1", machine.bmc()).look()
    assert told(sample)["fan/Fan 1"] == {"present": 1.0, "alarm": 0.0, "warning": 1.0, "rpm": 0.0}
    assert "Inlet shows 250 degrees" in sample.blind[0].why
    seen = {part.part: part.level for part in judged(sample).parts}
    assert seen["temperature/CPU"] is Level.FAILING
    assert seen["fan/Fan 1"] is Level.SUSPECT


def test_a_host_without_power_has_cold_sensors_and_no_trouble(machine: Machine) -> None:
    well = Sensors("host1", machine.bmc()).look()
    (machine.folder / "on").unlink()
    off = Sensors("host1", machine.bmc()).look()
    assert told(off).keys() == {"power/PSU 1", "power/PSU 2"}
    assert judged(well, off).level is Level.HEALTHY


def test_a_bmc_that_does_not_answer_is_only_not_seen(machine: Machine) -> None:
    assert "credentials" in Sensors("host1", machine.bmc("wrong")).look().blind[0].why
    machine.end()
    gone = Sensors("host1", machine.bmc()).look()
    assert (gone.readings, len(gone.blind)) == ((), 1)
    assert judged(gone).level is Level.HEALTHY


class Recorded(BaseHTTPRequestHandler):
    """Says what was said."""

    said: dict[str, Any] = json.loads(RECORDED.read_text())

    def do_GET(self) -> None:
        path = self.path if self.path in self.said else f"{self.path}/"
        found = self.said.get(path)
        self.send_response(200 if found else 404)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found or {}).encode())

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_a_real_servers_lost_feed_is_a_warning() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        sample = Sensors("h", Bmc(f"http://127.0.0.1:{server.server_port}", "u", "p")).look()
    finally:
        server.shutdown()
        server.server_close()
    found = told(sample)
    assert found["power/HpeServerPowerSupply 0"]["alarm"] == 0.0
    assert found["power/HpeServerPowerSupply 1"]["alarm"] == 1.0
    assert judged(sample).level is Level.SUSPECT


def test_operators_have_rules_for_what_bmcs_see_too(tmp_path: Path) -> None:
    path = tmp_path / sensor_rules.FILE
    path.write_text("""without = ["fan-warning"]
[[rules]]
name = "inlet"
kind = "temperature"
signal = "celsius"
measure = "steady"
says = "degrees at the inlet:"
span_s = 300
suspect = 41
""")
    names = {rule.name for rule in sensor_rules.load(tmp_path)}
    assert names == ({rule.name for rule in RULES} - {"fan-warning"}) | {"inlet"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("with = 1", "with"),
        ('without = ["nothing"]', "there is no such rule"),
        ("rules = 7", "array"),
        ('[[rules]]\nname = "x"\nkind = "fan"\nlimit = 3', "no key limit"),
        (
            '[[rules]]\nname = "x"\nkind = "disk"\nsignal = "pending"\nmeasure = "steady"\nsays = "x"\n'
            "span_s = 0\nsuspect = 1",
            "belongs into the hosts' agent.toml",
        ),
    ],
)
def test_a_bad_rule_is_refused_at_the_start(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / sensor_rules.FILE).write_text(text)
    with pytest.raises(Refused, match=why):
        sensor_rules.load(tmp_path)
