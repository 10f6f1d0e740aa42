"""What a step of a maintenance needs of the host's work: its notes, its agent, its task. Only shapes."""

from __future__ import annotations

from typing import Any, Protocol

from segue.controller.app import Controller
from segue.model.job import Inventory
from segue.model.maintenance import HostWork
from segue.model.task import Task


class Aborted(Exception):
    """The maintenance is taken back, and this host waited: between two steps, or for somebody within one."""


class Run(Protocol):
    """What the steps need of the host's maintenance."""

    host: str
    controller: Controller

    @property
    def work(self) -> HostWork: ...
    async def save(self, **fields: Any) -> None: ...
    async def ask(self, method: str, path: str, body: object = None) -> Any: ...
    async def inventory(self) -> Inventory: ...
    async def add_task(self, task: Task) -> None: ...
    def number(self) -> str: ...
    def note(self, **fields: Any) -> None: ...
    def wait_for(self, what: str) -> None: ...
    async def rest(self) -> None: ...
