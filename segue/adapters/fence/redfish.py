"""Asks a BMC by Redfish (sushy) whether its host has power, and takes it away or gives it. It decides nothing.

It must never say OFF for anything else than a BMC that said so itself, about the system that was asked for, after the
last order was given: no answer, an error, and a state in between are all UNKNOWN or raise.
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from segue.adapters.fence.bmc import Line
from segue.model.fencing import Bmc, Power

log = structlog.get_logger()
LOOK_S: Final = 0.5
STEADY_S: Final = 2.0
"""A host that restarts has no power for a moment: only one that stays without it is off."""
ANSWER_S: Final = 45.0
"""Longer than three times the time of one answer, which is all that is tried: only one that trickles takes longer."""
FRESH_S: Final = 10.0
"""A slow BMC takes some seconds to let us in."""


class Redfish:
    """The power button of one host."""

    def __init__(self, host: str, bmc: Bmc) -> None:
        self._line = Line(host, bmc, f"the power of {host} is not known")

    async def power(self) -> Power:
        """What it says now. Raises Refused with what is wrong: no answer, credentials, no such system."""
        return await self._line.ask(lambda _, system: _power(system), ANSWER_S)

    async def stays_off(self) -> bool:
        """True where it says for a while that its host is off, without any order; False at once where it does not."""
        return await self._line.ask(lambda _, system: _stays_off(system), ANSWER_S) is Power.OFF

    async def off(self, within_s: float, steady_s: float = STEADY_S) -> Power:
        """Takes the power away, without asking the host, and returns once the BMC has said for a while that it is off.

        UNKNOWN or ON where it has not said so in time. Safe to repeat, and for a host that is off already.
        steady_s: less only for one that was seen to stay off a moment ago. The order is given within `FRESH_S` or not
        at all: whoever was frozen meanwhile has decided by what is not so any more.
        """
        begun_s = time.monotonic()
        until_s, order_by_s = begun_s + within_s, begun_s + FRESH_S
        return await self._line.ask(
            lambda _, system: _off(system, until_s, steady_s, order_by_s), within_s + ANSWER_S
        )

    async def ask_off(self) -> None:
        """Presses the power button as a person would: the host's own system shuts down, if it listens.

        Nothing is waited for. Safe to repeat.
        """
        await self._line.ask(lambda _, system: _ask_off(system), ANSWER_S)

    async def on(self, within_s: float) -> Power:
        """Gives it power; returns once its BMC says so, or with what it says after that time."""
        until_s = time.monotonic() + within_s
        return await self._line.ask(lambda _, system: _on(system, until_s), within_s + ANSWER_S)


def _power(system: Any) -> Power:
    import sushy

    system.refresh(force=True)
    said = {sushy.POWER_STATE_ON: Power.ON, sushy.POWER_STATE_OFF: Power.OFF}
    return said.get(system.power_state, Power.UNKNOWN)


def _stays_off(system: Any) -> Power:
    since_s = time.monotonic()
    while (seen := _power(system)) is Power.OFF and time.monotonic() - since_s < STEADY_S:
        time.sleep(LOOK_S)
    return seen


def _off(system: Any, until_s: float, steady_s: float, order_by_s: float) -> Power:
    """The order is given whatever it said before: it may just be restarting."""
    import sushy
    from sushy import exceptions

    if time.monotonic() > order_by_s:
        log.warning("an order to switch a host off came too late, and was not given")
        return _power(system)
    try:
        system.reset_system(sushy.RESET_FORCE_OFF)
    except exceptions.BadRequestError as error:
        # Many refuse it for a host that is off: what they then say counts.
        log.info("a BMC does not take the order to switch off", why=str(error))
    since_s = None
    while time.monotonic() < until_s:
        seen, now_s = _power(system), time.monotonic()
        since_s = None if seen is not Power.OFF else since_s if since_s is not None else now_s
        if since_s is not None and now_s - since_s >= steady_s:
            return Power.OFF
        time.sleep(LOOK_S)
    return Power.UNKNOWN if _power(system) is Power.OFF else _power(system)


def _ask_off(system: Any) -> None:
    import sushy
    from sushy import exceptions

    try:
        system.reset_system(sushy.RESET_GRACEFUL_SHUTDOWN)
    except (exceptions.BadRequestError, exceptions.InvalidParameterValueError) as error:
        # It is off already, or has no such button: then its power is taken away.
        log.info("a BMC does not pass the button on", why=str(error))


def _on(system: Any, until_s: float) -> Power:
    import sushy

    if _power(system) is not Power.ON:
        system.reset_system(sushy.RESET_ON)
    while (seen := _power(system)) is not Power.ON and time.monotonic() < until_s:
        time.sleep(LOOK_S)
    return seen
