"""Speaks with a BMC by Redfish (sushy), and says in our words what goes wrong. It decides nothing.

Each call opens a session of its own: one that was kept may be over by the night it is needed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urljoin

from segue.errors import Kind, Refused
from segue.model.fencing import Bmc

T = TypeVar("T")
CONNECT_S: Final = 3.0
READ_S: Final = 10.0
"""Real BMCs take seconds for an answer; one that takes longer is of no use."""
THREADS: Final = 64
STALL_S: Final = 30.0
"""So long a BMC may take none of the bytes that are pushed to it."""
PUSHED_S: Final = 300.0
"""So long it may look at an image before it says whether it takes it; many check and unpack it first."""


@dataclass(frozen=True)
class Line:
    """The way to one host's BMC. what: is not done, or not known, where it does not answer."""

    host: str
    bmc: Bmc
    what: str

    async def ask(self, work: Callable[[Any, Any], T], within_s: float | None = None) -> T:
        """What `work` (root, system) -> T says, in a thread. Raises Refused: no answer, credentials, no such system.

        within_s: nobody waits longer. What it was asked for may still be done.
        """
        asking = asyncio.get_running_loop().run_in_executor(_threads(), self.now, work)
        try:
            async with asyncio.timeout(within_s):
                return await asking
        except TimeoutError as error:
            why = f"its BMC has not come to an end within {within_s:g} s"
            raise self.refused(why, "Look at the BMC.", Kind.TIMEOUT) from error

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
            connector=_connector()(
                bmc.url,
                verify=False if bmc.insecure else bmc.ca or True,
                default_request_timeout=READ_S,
                connect_timeout=CONNECT_S,
            ),
        )

    def refused(self, why: str, todo: str, kind: Kind) -> Refused:
        """What could not be done, and what this BMC has to do with it."""
        return Refused(what=self.what, why=f"{self.bmc.url}: {why}", todo=todo, kind=kind)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Their own: BMCs that let us wait must not take the threads that all else is done in."""
    return ThreadPoolExecutor(THREADS, "bmc")


@functools.cache
def _connector() -> Any:
    """sushy's way to a BMC, with two differences: an order is sent once, and a file can be pushed."""
    from sushy import connector, exceptions

    class Once(connector.Connector):  # type: ignore[misc]
        """sushy sends whatever got no answer three times; a BMC that is only slow would be given its order thrice."""

        def _op(self, method: str, *args: Any, **named: Any) -> Any:
            if method == "GET":
                return super()._op(method, *args, **named)
            self._server_side_retries = 1  # by sushy's counting: one attempt; 0 means three
            try:
                return super()._op(method, *args, **{"server_side_retries_left": 0, **named})
            finally:
                self._server_side_retries = 0

        def push(self, path: str, body: Any, content_type: str) -> Any:
            """POST of a body that is read while it is sent; sushy's own can only send JSON."""
            url = urljoin(self._url, path)
            response = self._session.post(
                url,
                data=body,
                headers={"Content-Type": content_type, "OData-Version": "4.0", "Accept-Encoding": "identity"},
                verify=self._verify,
                timeout=(STALL_S, PUSHED_S),
                allow_redirects=False,
            )
            exceptions.raise_for_response("POST", url, response)
            return response

    return Once
