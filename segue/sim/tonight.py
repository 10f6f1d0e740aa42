"""The order of a real maintenance as a rehearsal plays it: what a simulated host cannot do is replaced, and said.

It must never leave a step out in silence: whoever rehearses would believe that it was played.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from segue.model.maintenance import TAKES_S, Alerts, Order, Step, StepKind, Window
from segue.sim.world import BEGINS_S

BEGINS_AT_S: Final = 5.0
BY_POWER: Final = frozenset({StepKind.POWER_CYCLE, StepKind.FIRMWARE})
"""Played as a reboot that takes as long: there is no firmware here, and no BMC but one that takes power away."""


@dataclass(frozen=True)
class Tonight:
    """order: as it is played. said: what is not as it will be."""

    order: Order
    said: tuple[str, ...]


def adapted(order: Order) -> Tonight:
    """Every step that can be played, with the time that is foreseen for it."""
    said: list[str] = []
    steps = tuple(_step(step, said) for step in order.procedure)
    if order.strategy.alerts.prometheus:
        said.append("alerts are not asked for: none fires")
    if any(step.retries for step in order.procedure):
        said.append("no command fails")
    strategy = replace(order.strategy, alerts=Alerts())
    made = replace(order, procedure=steps, strategy=strategy, window=_window(order.window))
    return Tonight(made, tuple(dict.fromkeys(said)))


def _window(window: Window) -> Window:
    """It is open from the first moment on, and for as long as the real one."""
    if not window.ends_s or not window.begins_s:
        return Window()
    return Window(0.0, BEGINS_S + BEGINS_AT_S + window.ends_s - window.begins_s)


def _step(step: Step, said: list[str]) -> Step:
    takes_s = step.takes_s or TAKES_S[step.kind]
    if step.when_wanted:
        said.append(f"{step.kind}: every host is taken to want a reboot")
        step = replace(step, when_wanted=False)
    if step.burn_s:
        said.append("verify: no burn-in guest is made")
        step = replace(step, burn_s=0.0)
    if step.kind in BY_POWER:
        said.append(f"{step.kind}: played as a reboot of {takes_s:.0f} s")
        return Step(StepKind.REBOOT, name=step.title, within_s=step.limit_s, takes_s=takes_s)
    if step.kind is StepKind.UPDATE:
        said.append(f"{step.kind}: played as a command of {takes_s:.0f} s")
        return Step(StepKind.RUN, script=step.title, name=step.title, within_s=step.limit_s, takes_s=takes_s)
    return replace(step, takes_s=takes_s) if step.kind in TAKES_S and takes_s else step


def times(order: Order) -> tuple[dict[str, float], float]:
    """(script -> seconds that it takes, seconds for which a host that reboots is away)."""
    scripts = {step.script: step.takes_s for step in order.procedure if step.kind is StepKind.RUN}
    reboots = [step.takes_s for step in order.procedure if step.kind is StepKind.REBOOT]
    return scripts, max(reboots, default=0.0)
