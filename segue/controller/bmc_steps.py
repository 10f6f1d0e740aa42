"""The steps of a maintenance that a host's BMC does: power-cycle, firmware. Whoever leads next goes on from the notes.

It must never take the power of a host on which a guest is, nor of one whose power it has just given back: the host may
be writing its own firmware then. It never leaves a host without power, and never begins an update twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

import structlog

from segue.adapters import clock
from segue.controller.app import Controller
from segue.controller.host_run import Run
from segue.controller.links import HostAway
from segue.errors import Kind, Refused, SegueError
from segue.model.fencing import Power
from segue.model.firmware import Flash, FlashState, Image
from segue.model.maintenance import Step, StepKind

log = structlog.get_logger()
T = TypeVar("T")
POLL_S: Final = 1.0
FORCE_S: Final = 30.0
ON_S: Final = 30.0
WAITS_S: Final = 20.0
"""A task that waits for so long waits for the host to be started anew."""
LEAVES_S: Final = 30.0
"""So long a guest that has just left may still be there by its host's word."""
ANSWER_S: Final = 20.0


async def images(controller: Controller, procedure: Iterable[Step]) -> dict[str, Image]:
    """The files that are to be pushed, by what the order calls them. Raises Refused: one is not as it was planned."""
    found: dict[str, Image] = {}
    for step in procedure:
        if step.file and step.file not in found:
            found[step.file] = await asyncio.to_thread(controller.powers.image, step.file)
        if step.sha256 and (seen := found[step.file]).sha256 != step.sha256:
            raise Refused(
                what=f"{seen.path} is not pushed",
                why=f"{seen.path} is not the file that was planned: its sha256 is {seen.sha256}",
                todo="Lay that one on the host of every controller, or plan it again.",
                kind=Kind.CONFLICT,
            )
    return found


async def versions(
    controller: Controller, host: str, procedure: Iterable[Step], files: Mapping[str, Image]
) -> dict[str, str]:
    """What the parts have now that are to get another firmware. Raises Refused: nothing was changed yet.

    It is asked before anything of the host is touched: a wrong password, a BMC that is dead or too slow, and one that
    updates nothing, or does not take the image in the way that is ordered, are found here.
    """
    steps = tuple(procedure)
    if not steps:
        return {}
    if await controller.powers.of(host).power() is Power.UNKNOWN:
        raise Refused(
            what=f"{host} is left as it is",
            why="its BMC does not know whether it has power",
            todo=f"Look at the BMC; `segue host power {host} status` tries it.",
            kind=Kind.UNREACHABLE,
        )
    firmware = controller.powers.firmware(host)
    found = {}
    for step in steps:
        if step.kind is StepKind.FIRMWARE:
            found[step.target] = await firmware.version(step.target)
            await firmware.takes(step.image, files.get(step.file))
    return found


async def power_cycle(run: Run, step: Step) -> str:
    """Off, as gently as it lets itself be, and on again; returns when its agent speaks from another boot."""
    begun_s = clock.steady_s() if not run.work.boot else None
    if not run.work.boot:
        await _close(run, step)
        await run.save(acting=True, boot=(await run.inventory()).boot)
    elif not run.work.rising:
        await _close_again(run, step)
    how = await _go_down(run, step) if not run.work.rising else "it was off"
    bmc = run.controller.powers.of(run.host)
    await _tell(run, "it gets power again")
    if await _patiently(run, lambda: bmc.on(ON_S)) is not Power.ON:
        raise _refused(run.host, "it was switched off, and does not come on again", "Look at the host.")
    await _tell(run, "it boots")
    while (await run.inventory()).boot == run.work.boot:
        run.wait_for("it has power, and its agent speaks from the old boot")
        await run.rest()
    await run.save(boot="", rising=False)
    # Whoever led before took the power: how long it was away only that one knew.
    return (
        f"{how}; back after {clock.steady_s() - begun_s:.0f} s"
        if begun_s is not None
        else f"{how}; it is back"
    )


async def _go_down(run: Run, step: Step) -> str:
    """Returns when the BMC says that it is off, and that is noted: from then on its power only comes back."""
    bmc, how = run.controller.powers.of(run.host), "it shut down by itself"
    await _tell(run, "it is asked to shut down")
    if step.graceful_s:
        await _patiently(run, bmc.ask_off)
    until_s = clock.steady_s() + step.graceful_s
    while await _patiently(run, bmc.power) is not Power.OFF:
        if clock.steady_s() >= until_s:
            how = f"its power was taken after {step.graceful_s:g} s"
            log.warning("a host does not shut down by itself", host=run.host, within_s=step.graceful_s)
            if await _patiently(run, lambda: bmc.off(FORCE_S)) is not Power.OFF:
                raise _refused(
                    run.host, "its BMC does not switch it off", "Look at the BMC, and at the host."
                )
            break
        run.wait_for("it has not shut down yet")
        # Not `run.rest`, which an abort ends: it may go down at any time, and then it gets power again.
        await asyncio.sleep(POLL_S)
    await run.save(rising=True)
    return how


async def give_power_back(run: Run) -> str:
    """What became of a host whose step ended in the middle: it is not left without power. Empty where it had it."""
    if not run.work.boot:
        if run.work.acting:
            await _reopen(run)
        return ""
    bmc = run.controller.powers.of(run.host)
    try:
        async with asyncio.timeout(2 * ON_S):
            if await bmc.power() is Power.ON:
                await _reopen(run)
                return ""
            if await bmc.on(ON_S) is Power.ON:
                return "it has power again"
        why = "it does not come on"
    except TimeoutError:
        why = "its BMC does not answer"
    except SegueError as error:
        why = error.why
    log.error("a host may be left without power", host=run.host, why=why)
    return f"it may be without power ({why}): `segue host power {run.host} on`"


async def firmware(run: Run, step: Step) -> str:
    """Brings the image there, starts the host anew, and compares what the part says with what it said before."""
    hands = run.controller.powers.firmware(run.host)
    part = step.target or "BIOS"
    if not run.work.flash and not run.work.acting:
        before = await hands.version(step.target)
        if step.version and before == step.version:
            return f"{part} is {before} already"
        await _close(run, step)  # Some BMCs start the host anew by themselves.
        files = await images(run.controller, (step,))
        await run.save(acting=True, old_version=before, progress="the image goes to its BMC")
        await run.save(flash=await hands.begin(step.image, step.target, files.get(step.file)))
    if not run.work.flash:
        raise _refused(
            run.host,
            "whoever led before was cut off while it began the update: it is not known whether it did",
            "Look at the BMC's own list of tasks, and begin again.",
        )
    if not run.work.rising and await _follow(run, hands.look, waits_s=WAITS_S) is FlashState.WAITS:
        log.info("an update waits for the host to be started anew", host=run.host)
    how = await power_cycle(run, step)
    await _follow(run, hands.look, waits_s=None)
    return f"{await _compared(run, step, part)}; {how}"


async def _follow(run: Run, look: Callable[[str], Awaitable[Flash]], waits_s: float | None) -> FlashState:
    """Until its task has ended; or waits, which is followed for `waits_s` only. Raises Refused where it failed."""
    since_s = None
    while True:
        seen = await _patiently(run, lambda: look(run.work.flash))
        await _tell(run, f"{seen.percent} %" if seen.state is not FlashState.WAITS else "the update waits")
        if seen.state is FlashState.FAILED:
            raise _refused(run.host, f"the BMC says of its update: {seen.text}", "Look at the BMC's log.")
        if seen.state in {FlashState.DONE, FlashState.GONE}:
            return seen.state
        now_s = clock.steady_s()
        since_s = (since_s or now_s) if seen.state is FlashState.WAITS else None
        if waits_s is not None and since_s is not None and now_s - since_s >= waits_s:
            return seen.state
        run.wait_for(f"its update: {seen.state}, {seen.percent} %")
        await run.rest()


async def _compared(run: Run, step: Step, part: str) -> str:
    """A BMC may take a while to see what the host says of itself after its start."""
    hands, before = run.controller.powers.firmware(run.host), run.work.old_version
    after = await _patiently(run, lambda: hands.version(step.target))
    while step.version and after != step.version:
        run.wait_for(f"its BMC says {after}, not {step.version}")
        await _tell(run, f"the update is done, {part} is {after} still")
        await run.rest()
        after = await _patiently(run, lambda: hands.version(step.target))
    if after == before:
        raise _refused(
            run.host, f"{part} is {after} as before, though the update is done", "Look at the BMC's log."
        )
    change = f"firmware of {part}: {before} -> {after}"
    await run.save(changes=(*run.work.changes, change))
    return change


async def _close(run: Run, step: Step) -> None:
    """By its agent's own word no guest is there, and none starts there any more. Raises Refused.

    A guest that crashed would be started again in the middle, and one that was sent there by hand would come in.
    """
    until_s = clock.steady_s() + LEAVES_S
    while True:
        try:
            await run.ask("PUT", "/v1/closed", {"within_s": step.limit_s})
            return
        except SegueError as error:
            if error.kind is not Kind.CONFLICT or clock.steady_s() >= until_s:
                is_older = error.kind is Kind.NOT_FOUND
                why = "its agent is older, and cannot keep guests out meanwhile" if is_older else error.why
                todo = "Update its agent" if is_older else "Drain it"
                raise _refused(run.host, why, f"{todo}, and begin again.") from error
            run.wait_for(error.why)  # What has just left is gone in a moment.
        await run.rest()


async def _close_again(run: Run, step: Step) -> None:
    """For one that leads now: nobody knows for how long nobody did, and what was closed opens by itself."""
    try:
        wish = {"within_s": step.limit_s}
        await run.controller.links.call(run.host, "PUT", "/v1/closed", wish, within_s=ANSWER_S)
    except HostAway as error:  # It may be going down already.
        log.info("a host is not asked again before its power is taken", host=run.host, why=error.why)
    except SegueError as error:
        raise _refused(run.host, error.why, "Drain it, and begin again.") from error


async def _reopen(run: Run) -> None:
    """Where it kept its power; one that is away opens by itself, when its time is over or at its next boot."""
    with contextlib.suppress(SegueError):
        await run.controller.links.call(run.host, "DELETE", "/v1/closed", within_s=ANSWER_S)


async def _patiently(run: Run, ask: Callable[[], Awaitable[T]]) -> T:
    """A BMC that is just starting itself anew is asked again, until the step's time is over."""
    while True:
        try:
            return await ask()
        except SegueError as error:
            if error.kind is not Kind.UNREACHABLE:
                raise
            run.wait_for(error.why)
            log.info("a BMC is asked again", host=run.host, why=error.why)
        await run.rest()


async def _tell(run: Run, progress: str) -> None:
    if run.work.progress != progress:
        await run.save(progress=progress)


def _refused(host: str, why: str, todo: str) -> Refused:
    return Refused(what=f"the work on {host} by its BMC", why=why, todo=todo, kind=Kind.CONFLICT)
