"""Gives a host's parts another firmware by Redfish (SimpleUpdate), and looks at its task. It decides nothing.

It never begins an update twice: who calls keeps what `begin` answered, and looks at that.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from segue.adapters.fence.bmc import Line
from segue.errors import Kind
from segue.model.fencing import Bmc
from segue.model.firmware import Flash, FlashState

BIOS: Final = "bios"
WAITS: Final = frozenset({"New", "Pending", "Suspended", "Starting"})
FAILED: Final = frozenset({"Exception", "Killed", "Cancelled"})


class Firmware:
    """The firmware of one host's parts. target: an id in the BMC's list of firmware, a path; empty: the BIOS."""

    def __init__(self, host: str, bmc: Bmc) -> None:
        self._line = Line(host, bmc, f"the firmware of {host} is left as it is")

    async def version(self, target: str) -> str:
        """What it has now. Raises Refused where the BMC updates nothing, has no such part, or does not say."""
        return await self._line.ask(lambda root, system: self._version(root, system, target))

    async def begin(self, image: str, target: str) -> str:
        """The path of the task that brings the image there. Raises Refused where the BMC does not take it."""
        return await self._line.ask(lambda root, system: self._begin(root, system, image, target))

    async def look(self, task: str) -> Flash:
        """How far that task is."""
        return await self._line.ask(lambda root, _: _look(root, task))

    def _version(self, root: Any, system: Any, target: str) -> str:
        service = root.get_update_service()
        if service.service_enabled is False:
            raise self._line.refused(
                "its UpdateService is switched off", "Switch it on at the BMC.", Kind.POLICY
            )
        item = _item(service, target)
        if item is not None and item.version:
            return str(item.version)
        if target or not system.bios_version:
            part = f"'{target}'" if target else "the BIOS"
            why = f"it says no version of {part}; its list has: {', '.join(_ids(service)) or 'nothing'}"
            raise self._line.refused(why, "Name a part of its list as `target`.", Kind.NOT_FOUND)
        return str(system.bios_version)

    def _begin(self, root: Any, system: Any, image: str, target: str) -> str:
        from sushy.resources.updateservice.constants import UpdateTransferProtocolType as Protocol

        service = root.get_update_service()
        item = _item(service, target)
        path = item.path if item is not None else system.path
        protocol = Protocol(urlsplit(image).scheme.upper())
        monitor = service.simple_update(image, targets=[path], transfer_protocol=protocol)
        return str(monitor.task_monitor_uri)


def _items(service: Any) -> list[Any]:
    """The BMC's list of firmware; some have none."""
    from sushy import exceptions

    try:
        return list(service.firmware_inventory.get_members())
    except (exceptions.ResourceNotFoundError, exceptions.MissingAttributeError):
        return []


def _ids(service: Any) -> list[str]:
    return [str(item.identity) for item in _items(service)]


def _item(service: Any, target: str) -> Any:
    """The entry that is meant; None where there is no such entry."""
    wanted = target.rstrip("/").rpartition("/")[2]
    for item in _items(service):
        words = f"{item.identity} {item.name}".lower()
        if item.identity == wanted or (not wanted and BIOS in words and "previous" not in words):
            return item
    return None


def _look(root: Any, path: str) -> Flash:
    from sushy import exceptions

    try:
        monitor = root.get_task_monitor(path)
    except exceptions.ResourceNotFoundError:
        return Flash(FlashState.GONE)
    try:
        task = monitor.task or monitor.get_task()
    except (exceptions.ResourceNotFoundError, exceptions.MissingAttributeError, ValueError):
        return Flash(FlashState.RUNNING if monitor.is_processing else FlashState.DONE)
    state = task.task_state.value if task.task_state else ""
    status = task.task_status.value if task.task_status else ""
    text = "; ".join(str(m.message) for m in task.messages or () if m.message)[-500:]
    percent = int(task.percent_complete or 0)
    if state in FAILED or (state == "Completed" and status == "Critical"):
        return Flash(FlashState.FAILED, percent, text or state)
    if state == "Completed" or (not state and not monitor.is_processing):
        return Flash(FlashState.DONE, 100, text)
    return Flash(FlashState.WAITS if state in WAITS else FlashState.RUNNING, percent, text)
