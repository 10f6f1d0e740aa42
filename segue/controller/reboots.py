"""A host of a maintenance is rebooted by its own agent: once, and only while no guest is there. It decides nothing."""

from __future__ import annotations

import msgspec

from segue.adapters import clock
from segue.controller.host_run import Run
from segue.errors import Kind, Refused, SegueError
from segue.model.job import Reboot


async def reboot(run: Run) -> str:
    """Asks for it, and waits for another boot; the same number never reboots twice."""
    await run.save(acting=True)
    begun_s = run.work.step_begun_s or clock.wall_s()  # Whoever led before may have asked for it.
    while True:
        asked = await _ask(run)
        if (await run.inventory()).boot != asked.boot:
            return f"back after {max(0.0, clock.wall_s() - begun_s):.0f} s"
        if asked.why:
            raise Refused(what="it does not reboot", why=asked.why, todo="Look at it, and reboot it by hand.")
        run.wait_for("it has not gone down yet")
        await run.rest()


async def _ask(run: Run) -> Reboot:
    """The agent itself looks whether a guest is there; what has just left is gone in a moment."""
    while True:
        try:
            return msgspec.convert(await run.ask("PUT", f"/v1/reboots/{run.number()}"), Reboot)
        except SegueError as error:
            if error.kind is not Kind.CONFLICT:
                raise
            run.wait_for(error.why)
        await run.rest()
