"""The lab's BMC takes images of firmware by push, as Redfish describes it; the emulator itself has only SimpleUpdate.

An image of the lab is a file whose first line is `BIOS 2.0.0`: that is the version which the host then has. What was
pushed lies beside the hardware's file, as `.pushed`.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Final

from segue.lab.bmc_hardware import Hardware

MULTIPART: Final = "/redfish/v1/UpdateService/upload"
PLAIN: Final = "/redfish/v1/UpdateService/image"
TASK: Final = "/redfish/v1/TaskService/Tasks/42"
BLOCK: Final = 65536


def fit(application: Any, hardware: Hardware) -> None:
    """Puts it into the emulator."""
    application.add_url_rule(MULTIPART, "push_multipart", lambda: _multipart(hardware), methods=["POST"])
    application.add_url_rule(PLAIN, "push_plain", lambda: _plain(hardware), methods=["POST"])
    said = application.view_functions["UpdateService.update_service_resource"]
    service = lambda: _service(said, hardware)  # noqa: E731 -- the emulator's own view, changed
    application.view_functions["UpdateService.update_service_resource"] = service
    application.add_url_rule(
        "/redfish/v1/UpdateService", "push_reserve", lambda: _reserve(hardware), methods=["PATCH"]
    )


def _service(view: Any, hardware: Hardware) -> Any:
    import flask

    known = hardware.read()
    answer = flask.make_response(view())
    said = json.loads(answer.get_data())
    said.pop("HttpPushUri", None)  # the emulator names one that it does not have
    if "simple" not in known["ways"]:
        said["Actions"] = {}
    if "multipart" in known["ways"]:
        said["MultipartHttpPushUri"] = MULTIPART
    if "plain" in known["ways"]:
        said |= {"HttpPushUri": PLAIN, "HttpPushUriTargets": known["targets"]}
        said["HttpPushUriTargetsBusy"] = known["reserved"]
    said["MaxImageSizeBytes"] = known["most_bytes"] or None
    answer.set_data(json.dumps(said))
    return answer


def _reserve(hardware: Hardware) -> Any:
    import flask

    wish, known = flask.request.get_json(), hardware.read()
    targets = wish.get("HttpPushUriTargets", known["targets"])
    reserved = wish.get("HttpPushUriTargetsBusy", known["reserved"])
    hardware.write({**known, "targets": targets, "reserved": reserved})
    return "", 204


def _plain(hardware: Hardware) -> Any:
    if refused := _refusal(hardware):
        return refused
    content = _received(hardware)
    return _taken(hardware, content, hardware.read()["targets"], "plain") if content else _cut()


def _multipart(hardware: Hardware) -> Any:
    import flask

    if refused := _refusal(hardware):
        return refused
    if hardware.read()["cut_after_bytes"]:
        return _cut(_received(hardware))
    parts, file = flask.request.form, flask.request.files.get("UpdateFile")
    if file is None or "UpdateParameters" not in parts:
        return {"error": {"code": "Base.1.0.ActionParameterMissing", "message": "a part is missing"}}, 400
    return _taken(hardware, file.read(), json.loads(parts["UpdateParameters"])["Targets"], "multipart")


def _refusal(hardware: Hardware) -> Any:
    known = hardware.read()
    hardware.write({**known, "pushes": known["pushes"] + 1})
    if not known["refuses"]:
        return None
    return {"error": {"code": "Base.1.0.GeneralError", "message": known["says"]}}, known["refuses"]


def _received(hardware: Hardware) -> bytes:
    """All of the body; nothing where it is to be cut off in the middle."""
    import flask

    most = hardware.read()["cut_after_bytes"]
    found = bytearray()
    while block := flask.request.stream.read(BLOCK):
        found += block
        if most and len(found) >= most:
            return b""
    return bytes(found)


def _cut(_: bytes = b"") -> Any:
    """The BMC is gone: no answer, and nobody reads on."""
    import socket

    import flask

    line = flask.request.environ["werkzeug.socket"]
    line.shutdown(socket.SHUT_RDWR)
    return "", 500


def _taken(hardware: Hardware, content: bytes, targets: list[str], way: str) -> Any:
    import flask

    sort, _, version = content.partition(b"\n")[0].decode("utf-8", "replace").strip().partition(" ")
    known = hardware.read()
    pushed = {"sha256": hashlib.sha256(content).hexdigest(), "targets": targets, "way": way}
    hardware.path.with_suffix(".pushed").write_bytes(content)
    breaks = known["breaks"] if sort == "BIOS" and version else "that is no image for this machine"
    hardware.write({**known, "pushed": pushed, "breaks": breaks})
    hardware.update(version)
    time.sleep(known["answer_s"])
    if known["mute"]:
        return _cut()
    return flask.jsonify({"@odata.id": TASK, "Id": "42", "TaskState": "New"}), 202, {"Location": TASK}
