"""Gives a host's parts another firmware by Redfish, pushed or fetched, and looks at its task. It decides nothing.

It never begins an update twice: who calls keeps what `begin` answered, and looks at that.
"""

from __future__ import annotations

import http
import threading
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import structlog

from segue.adapters.fence import push
from segue.adapters.fence.bmc import Line
from segue.errors import Kind, Refused
from segue.model.fencing import Bmc
from segue.model.firmware import Flash, FlashState, Image

log = structlog.get_logger()
BIOS: Final = "bios"
MULTIPART: Final = "MultipartHttpPushUri"
PLAIN: Final = "HttpPushUri"
BUSY: Final = "HttpPushUriTargetsBusy"
WAITS: Final = frozenset({"New", "Pending", "Suspended", "Starting"})
FAILED: Final = frozenset({"Exception", "Killed", "Cancelled"})


class Firmware:
    """The firmware of one host's parts. target: an id in the BMC's list of firmware, a path; empty: the BIOS.

    url: from where the BMC may fetch the image. image: the file that is pushed, where the BMC takes one.
    """

    def __init__(self, host: str, bmc: Bmc) -> None:
        self._host = host
        self._line = Line(host, bmc, f"the firmware of {host} is left as it is")

    async def version(self, target: str) -> str:
        """What it has now. Raises Refused where the BMC updates nothing, has no such part, or does not say."""
        return await self._line.ask(lambda root, system: self._version(root, system, target))

    async def takes(self, url: str, image: Image | None) -> str:
        """By which way it would: the name of Redfish's. Raises Refused where there is none; nothing is changed."""
        return await self._line.ask(lambda root, _: self._way(root.get_update_service(), url, image))

    async def begin(self, url: str, target: str, image: Image | None = None) -> str:
        """The path of the task that brings the image there. Raises Refused where the BMC does not take it, and
        where nobody can know whether it did: the text says which."""
        asked = _Asked(url, image, target)
        try:
            return await self._line.ask(lambda root, system: self._begin(root, system, asked))
        finally:
            asked.end()

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

    def _way(self, service: Any, url: str, image: Image | None) -> str:
        said = service.json
        pushes = [name for name in (MULTIPART, PLAIN) if said.get(name)] if image is not None else []
        if image is not None and pushes:
            most = said.get("MaxImageSizeBytes") or 0
            if 0 < most < image.size:
                why = f"it takes images of {most} bytes at most, and {image.path} has {image.size}"
                raise self._line.refused(why, "Take the image that is made for it.", Kind.POLICY)
            if pushes[0] == PLAIN and said.get(BUSY):
                why = f"somebody has reserved it for an update ({BUSY})"
                todo = "Wait for that; if it was left behind, set it to false at the BMC."
                raise self._line.refused(why, todo, Kind.BUSY)
            return pushes[0]
        if url and "#UpdateService.SimpleUpdate" in said.get("Actions", {}):
            return "SimpleUpdate"
        what = "fetches no image by itself (SimpleUpdate)" if url else ""
        if image is not None:
            what = f"lets no image be pushed ({MULTIPART}, {PLAIN})" + (f", and {what}" if what else "")
        todo = "Name a URL in the order." if not url else "Lay the image on the controllers' hosts."
        raise self._line.refused(f"it {what}", todo, Kind.POLICY)

    def _begin(self, root: Any, system: Any, asked: _Asked) -> str:
        service = root.get_update_service()
        way = self._way(service, asked.url, asked.image)
        item = _item(service, asked.target)
        path = item.path if item is not None else system.path
        if way in {MULTIPART, PLAIN}:
            return self._push(root, service, asked, way, path)
        return self._fetch(service, asked.url, path)

    def _fetch(self, service: Any, url: str, path: str) -> str:
        from sushy import exceptions
        from sushy.resources.updateservice.constants import UpdateTransferProtocolType as Protocol

        protocol = Protocol(urlsplit(url).scheme.upper())
        try:
            monitor = service.simple_update(url, targets=[path], transfer_protocol=protocol)
        except exceptions.ConnectionError as error:
            raise self._unknown(str(error)) from error
        return str(monitor.task_monitor_uri)

    def _push(self, root: Any, service: Any, asked: _Asked, way: str, path: str) -> str:
        import requests
        from sushy import exceptions

        reserved = way == PLAIN and _reserve(service, path)
        body = asked.body([path] if way == MULTIPART else None)
        try:
            with body:
                return self._task(root._conn.push(_here(service.json[way]), body, body.content_type))
        except exceptions.ServerSideError as error:
            if error.status_code == http.HTTPStatus.SERVICE_UNAVAILABLE or not body.whole:
                raise
            raise self._unknown(f"it got all of the image, and then: {error}") from error
        except (requests.RequestException, OSError) as error:
            if body.whole:
                raise self._unknown(f"it got all of the image, and then: {error}") from error
            why = f"it was cut off after {body.sent} of {len(body)} bytes of the image: {error}"
            raise self._line.refused(why, "Look at the BMC.", Kind.UNREACHABLE) from error
        finally:
            if reserved:
                _release(service)

    def _task(self, answer: Any) -> str:
        """As sushy takes it: the task itself where the answer names it, else its monitor."""
        try:
            said = answer.json() if answer.content else {}
        except ValueError:
            said = {}
        named = (said.get("@odata.id") if isinstance(said, dict) else "") or answer.headers.get("Location")
        if not named:
            raise self._unknown(f"it took the image ({answer.status_code}), and names no task")
        return _here(str(named))

    def _unknown(self, why: str) -> Refused:
        return Refused(
            what=f"whether the firmware of {self._host} is being changed is not known",
            why=f"{self._line.bmc.url}: {why}",
            todo="Look at the BMC's own list of tasks before the host loses its power, then begin again.",
            kind=Kind.CONFLICT,
        )


class _Asked:
    """One update that is being begun. `end`: whoever asked waits no more, and nothing more is sent."""

    def __init__(self, url: str, image: Image | None, target: str) -> None:
        self.url, self.image, self.target = url, image, target
        self._ended = threading.Event()

    def body(self, targets: list[str] | None) -> push.Body:
        """Of the request that pushes it."""
        assert self.image is not None
        return push.Body(self.image, targets, self._ended)

    def end(self) -> None:
        self._ended.set()


def _here(uri: str) -> str:
    """On this BMC, whatever host it names: the password goes nowhere else."""
    return urlunsplit(("", "", *urlsplit(uri)[2:4], ""))


def _reserve(service: Any, path: str) -> bool:
    """Says what the next push is for, where the BMC lets that be said."""
    if BUSY not in service.json:
        return False
    service._conn.patch(service.path, data={BUSY: True})
    try:
        service._conn.patch(service.path, data={"HttpPushUriTargets": [path]})
    except BaseException:
        _release(service)
        raise
    return True


def _release(service: Any) -> None:
    """It is no failure of the update if that cannot be said; the next plan says that it is reserved still."""
    from sushy import exceptions

    try:
        service._conn.patch(service.path, data={BUSY: False})
    except exceptions.SushyError as error:
        log.warning("a BMC's update service stays reserved", why=str(error))


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
