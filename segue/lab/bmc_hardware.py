"""What a lab's BMC says of its host's hardware: firmware that takes its time, power supplies, fans, temperatures.

A file of JSON is that hardware, read anew for each answer: who wants to see a supply fail writes it there. The rest,
and all that is said by Redfish of the update, is the emulator's own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

OK: Final = {"State": "Enabled", "Health": "OK"}
NEW: Final[dict[str, Any]] = {
    "bios": "1.0.0",
    "update_s": 2.0,
    "staged": False,
    "breaks": "",
    "ways": ["simple", "multipart", "plain"],
    "most_bytes": 0,
    "refuses": 0,
    "says": "",
    "cut_after_bytes": 0,
    "answer_s": 0.0,
    "mute": False,
    "reserved": False,
    "targets": [],
    "pushes": 0,
    "updates": 0,
    "pushed": {},
    "supplies": [{"Name": f"PSU {n}", "Status": OK, "LastPowerOutputWatts": 120} for n in (1, 2)],
    "fans": [],
    "temperatures": [],
}
"""staged: the new firmware waits for the host to be started anew. breaks: the BMC's words where an update fails.
ways: how it takes images. most_bytes, refuses (a status, with its words), cut_after_bytes and mute (it takes
the image, and is gone): of pushes. answer_s: after that it says that it has begun. reserved and below: what was asked
of it so far.
fans, temperatures: instead of the emulator's."""


class Hardware:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self.write(NEW)

    def read(self) -> dict[str, Any]:
        """All of it."""
        return {**NEW, **json.loads(self.path.read_text(encoding="utf-8"))}

    def write(self, content: dict[str, Any]) -> None:
        """At once, or not at all."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(fresh, self.path)

    def version(self) -> str:
        """Of the BIOS; an update that is over counts."""
        known = self.read()
        flash = known.get("update")
        if flash and not known["staged"] and self._percent(known) == 100 and not known["breaks"]:
            self.write({**known, "bios": flash["to"], "update": {**flash, "over": True}})
            return str(flash["to"])
        return str(known["bios"])

    def update(self, version: str) -> None:
        """Begins one."""
        known = self.read()
        flash = {"to": version, "begun_s": time.time(), "over": False}
        self.write({**known, "update": flash, "updates": known["updates"] + 1})

    def power_on(self) -> None:
        """What waited for it is done."""
        known = self.read()
        flash = known.get("update")
        if flash and known["staged"] and not known["breaks"]:
            self.write({**known, "bios": flash["to"], "update": {**flash, "over": True}})

    def task(self) -> dict[str, Any]:
        """As Redfish's Task has it."""
        known = self.read()
        flash = known.get("update") or {"over": True}
        percent = self._percent(known)
        if known["breaks"] and percent == 100:
            said = [{"MessageId": "Update.1.0.ApplyFailed", "Message": known["breaks"]}]
            return {
                "TaskState": "Exception", "TaskStatus": "Critical", "PercentComplete": 40, "Messages": said,
            }  # fmt: skip
        if flash["over"] or (percent == 100 and not known["staged"]):
            return {"TaskState": "Completed", "TaskStatus": "OK", "PercentComplete": 100}
        state = "Pending" if percent == 100 else "Running"
        return {"TaskState": state, "TaskStatus": "OK", "PercentComplete": min(percent, 99)}

    @staticmethod
    def _percent(known: dict[str, Any]) -> int:
        flash = known.get("update")
        if not flash or flash["over"]:
            return 100
        return int(min(1.0, (time.time() - flash["begun_s"]) / max(known["update_s"], 0.001)) * 100)


def fit(application: Any, hardware: Hardware) -> None:
    """Puts it into the emulator's answers."""
    views = application.view_functions
    views["simple_task"] = _changed(views["simple_task"], lambda said: said | hardware.task())
    views["thermal_resource"] = _changed(views["thermal_resource"], lambda said: _thermal(said, hardware))
    views["chassis_resource"] = _changed(views["chassis_resource"], _with_power)
    application.add_url_rule(
        "/redfish/v1/Chassis/<identity>/Power", "power_resource", lambda identity: _power(identity, hardware)
    )


def _changed(view: Callable[..., Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    def changed(*args: Any, **named: Any) -> Any:
        import flask

        answer = flask.make_response(view(*args, **named))
        if answer.status_code == 200 and flask.request.method == "GET":
            said = change(json.loads(answer.get_data()))
            answer.set_data(json.dumps(said))
            answer.status_code = 202 if said.get("TaskState") in {"Running", "Pending"} else 200
        return answer

    return changed


def _thermal(said: dict[str, Any], hardware: Hardware) -> dict[str, Any]:
    known = hardware.read()
    said["Fans"] = _numbered(known["fans"]) or said["Fans"]
    said["Temperatures"] = _numbered(known["temperatures"]) or said["Temperatures"]
    return said


def _with_power(said: dict[str, Any]) -> dict[str, Any]:
    return said | {"Power": {"@odata.id": f"{said['@odata.id']}/Power"}}


def _power(identity: str, hardware: Hardware) -> Any:
    import flask

    supplies = _numbered(hardware.read()["supplies"])
    return flask.jsonify(
        {
            "@odata.type": "#Power.v1_3_0.Power",
            "@odata.id": f"/redfish/v1/Chassis/{identity}/Power",
            "Id": "Power",
            "Name": "Power",
            "PowerSupplies": supplies,
        }
    )


def _numbered(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"MemberId": str(number), **part} for number, part in enumerate(parts)]
