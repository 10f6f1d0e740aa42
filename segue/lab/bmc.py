"""A BMC for a host of the lab: sushy-tools' Redfish emulator, whose power button switches the lab's machine off and on.

It speaks Redfish as a real one does, with user and password; what it says of the power is what is so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from segue.lab import bmc_hardware, bmc_push
from segue.lab.bmc_hardware import Hardware

USER: Final = "segue"
ROUNDS: Final = 4
"""Of bcrypt: the lab's password is no secret, and the emulator checks it with each request."""


class Plug(Protocol):
    """What the power button is wired to. Whatever it raises becomes an error of the BMC."""

    def is_on(self) -> bool:
        """True while the host has power."""
        ...

    def switch(self, *, on: bool) -> None:
        """Returns when the order is given; it may take a while until it is so."""
        ...

    def ask_off(self) -> None:
        """The button, pressed shortly: the host's own system is asked to shut down, and may not listen."""
        ...


@dataclass(frozen=True)
class Door:
    """Where it listens, and who may come in."""

    address: str
    port: int
    auth_file: Path
    socket: int | None = None
    """A socket that listens there already; where it is none, one is made."""


def write_password(path: Path, user: str, password: str) -> None:
    """The file that the emulator compares with, as htpasswd has it."""
    import bcrypt

    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(ROUNDS)).decode()
    path.touch(0o600)
    path.write_text(f"{user}:{hashed}\n", encoding="ascii")


def server(name: str, uuid: str, door: Door, plug: Plug) -> Any:
    """The emulator for one system, not serving yet (`serve_forever`). One in each process: it has globals."""
    from sushy_tools.emulator import main
    from werkzeug.serving import make_server

    hardware = Hardware(door.auth_file.parent / f"{name}.hardware.json")
    main.fakedriver.FakeDriver = _driver(plug, hardware)
    system = {"uuid": uuid, "name": name, "power_state": "On", "external_notifier": False, "nics": []}
    application = main.app
    bmc_hardware.fit(application, hardware)
    bmc_push.fit(application, hardware)
    state = door.auth_file.parent / f"state-{name}"
    # Else all emulators of this machine would keep theirs in one file, and mix them up.
    state.mkdir(exist_ok=True)
    application.configure(
        extra_config={
            "SUSHY_EMULATOR_FAKE_DRIVER": True,
            "SUSHY_EMULATOR_STATE_DIR": str(state),
            "SUSHY_EMULATOR_FAKE_SYSTEMS": [system],
            "SUSHY_EMULATOR_AUTH_FILE": str(door.auth_file),
        }
    )
    return make_server(door.address, door.port, application, threaded=True, fd=door.socket)


def _driver(plug: Plug, hardware: Hardware) -> Callable[..., Any]:
    from sushy_tools import error
    from sushy_tools.emulator.resources.systems.fakedriver import FakeDriver

    class PlugDriver(FakeDriver):  # type: ignore[misc]
        """The emulator's own for systems without anything behind them, with power that is real, and firmware."""

        def get_power_state(self, identity: str) -> str:
            self._get(identity)
            return "On" if plug.is_on() else "Off"

        def set_power_state(self, identity: str, state: str) -> None:
            self._get(identity)
            if state == "ForceOff":
                plug.switch(on=False)
            elif state == "GracefulShutdown":
                plug.ask_off()
            elif state in {"On", "ForceOn"}:
                plug.switch(on=True)
            elif state in {"ForceRestart", "GracefulRestart"}:
                plug.switch(on=False)
                plug.switch(on=True)
            else:
                raise error.NotSupportedError(f"there is no {state}")
            if state not in {"ForceOff", "GracefulShutdown"}:
                hardware.power_on()

        def get_versions(self, identity: str) -> dict[str, str]:
            self._get(identity)
            return {"BiosVersion": hardware.version()}

        def set_versions(self, identity: str, firmware_versions: dict[str, str]) -> None:
            self._get(identity)
            hardware.update(firmware_versions["BiosVersion"])
            time.sleep(hardware.read()["answer_s"])

    return PlugDriver
