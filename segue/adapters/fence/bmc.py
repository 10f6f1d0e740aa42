"""Speaks with a BMC by Redfish (sushy), and says in our words what goes wrong. It decides nothing.

Each call opens a session of its own: one that was kept may be over by the night it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from segue.errors import Kind, Refused
from segue.model.fencing import Bmc

T = TypeVar("T")
CONNECT_S: Final = 3.0
READ_S: Final = 10.0
"""Real BMCs take seconds for an answer; one that takes longer is of no use."""


@dataclass(frozen=True)
class Line:
    """The way to one host's BMC. what: is not done, or not known, where it does not answer."""

    host: str
    bmc: Bmc
    what: str

    async def ask(self, work: Callable[[Any, Any], T]) -> T:
        """What `work` (root, system) -> T says, in a thread. Raises Refused: no answer, credentials, no such system."""
        return await asyncio.to_thread(self.now, work)

    def now(self, work: Callable[[Any, Any], T]) -> T:
        """The same in this thread."""
        import requests
        from sushy import exceptions

        try:
            root = self._root()
            return work(root, root.get_system(self._path()))
        except exceptions.AccessError as error:
            why, todo = "its BMC does not take the credentials", "Correct user and password."
            raise self.refused(why, todo, Kind.AUTH) from error
        except exceptions.SushyError as error:
            raise self.refused(f"its BMC: {error}", "Look at the BMC.", Kind.UNREACHABLE) from error
        except (requests.RequestException, OSError) as error:
            why = f"its BMC does not answer: {error}"
            raise self.refused(why, "Look at the BMC.", Kind.UNREACHABLE) from error

    def _path(self) -> str | None:
        return f"/redfish/v1/Systems/{self.bmc.system}" if self.bmc.system else None

    def _root(self) -> Any:
        import sushy
        from sushy import auth

        bmc = self.bmc
        return sushy.Sushy(
            bmc.url,
            auth=auth.BasicAuth(username=bmc.user, password=bmc.password),
            verify=False if bmc.insecure else bmc.ca or True,
            server_side_retries=0,
            read_timeout=READ_S,
            connect_timeout=CONNECT_S,
        )

    def refused(self, why: str, todo: str, kind: Kind) -> Refused:
        """What could not be done, and what this BMC has to do with it."""
        return Refused(what=self.what, why=f"{self.bmc.url}: {why}", todo=todo, kind=kind)
