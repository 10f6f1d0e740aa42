"""The file that describes a rehearsal: hosts, guests, wishes and faults, in YAML. Read and checked, not played."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct, field

from segue.cli import values
from segue.errors import Kind, Refused
from segue.sim.faults import OF_CONTROLLERS, OF_HOSTS, Fault, FaultKind
from segue.sim.scenario import Balance, GuestPlan, HostPlan, Scenario, Wanted

ENDING: Final = ".yaml"
ANYWHERE: Final = (OF_CONTROLLERS | {FaultKind.LATE}) - OF_HOSTS
"""Faults that need no place."""
Size = int | str


class HostText(Struct, forbid_unknown_fields=True):
    """One host. `lease`: seconds; guests run there by the word of a majority of the hosts."""

    memory: Size = "16GiB"
    cpus: int = 16
    link: Size = "1gbit"
    labels: dict[str, str] = field(default_factory=dict)
    bmc: bool = True
    lease: float = 0.0


class GuestText(Struct, forbid_unknown_fields=True):
    """One guest. `writes`: bytes per second of its memory; `working_set`: the part that it writes again and again.
    `computes`: processors that it uses, for `tide` seconds; then a tenth of them for as long."""

    host: str
    memory: Size = "1GiB"
    vcpus: int = 1
    writes: Size = "5MB"
    working_set: Size = "64MiB"
    computes: float = 0.0
    tide: float = 0.0


class WantedText(Struct, forbid_unknown_fields=True):
    """Either `drain`, or `maintain`, or `balance`, or `move` with `to`. `cancel_after`: seconds."""

    at: float
    drain: list[str] = field(default_factory=list)
    maintain: list[str] = field(default_factory=list)
    balance: Balance | None = None
    move: str = ""
    to: str = ""
    cancel_after: float = 0.0
    parallel: int = 2
    deadline: float = 90.0


class FaultText(Struct, forbid_unknown_fields=True):
    """`for_s`: until it is mended."""

    at: float
    what: FaultKind
    where: str = ""
    other: str = ""
    for_s: float = 10.0
    amount: float = 0.0
    step: str = ""


class StoryText(Struct, forbid_unknown_fields=True):
    """The whole file."""

    tells: str
    hosts: dict[str, HostText]
    guests: dict[str, GuestText] = field(default_factory=dict)
    wanted: list[WantedText] = field(default_factory=list)
    faults: list[FaultText] = field(default_factory=list)
    controllers: int = 2
    evacuate: int = 1
    calm: float = 60.0
    seed: str = "1"


def names() -> tuple[str, ...]:
    """The stories that come with segue."""
    folder = resources.files("segue.sim") / "stories"
    return tuple(
        sorted(one.name.removesuffix(ENDING) for one in folder.iterdir() if one.name.endswith(ENDING))
    )


def tells(name: str) -> str:
    """What a story that comes with segue is about."""
    return _read(name).tells


def load(name: str) -> Scenario:
    """A story by its name, or a file. Raises Refused."""
    return _scenario(name, _read(name))


def _read(name: str) -> StoryText:
    try:
        story: StoryText = msgspec.convert(yaml.safe_load(_text(name)), StoryText)
        return story
    except (msgspec.MsgspecError, yaml.YAMLError) as error:
        raise _wrong(name, " ".join(str(error).split())) from error


def _text(name: str) -> str:
    if name in names():
        return (resources.files("segue.sim") / "stories" / f"{name}{ENDING}").read_text()
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(name, f"{error}; stories that are there: {', '.join(names())}") from error


def _scenario(name: str, story: StoryText) -> Scenario:
    if problem := next(_problems(story), ""):
        raise _wrong(name, problem)
    return Scenario(
        name=Path(name).stem,
        seed=story.seed,
        hosts=tuple(_host(host, text) for host, text in story.hosts.items()),
        guests=tuple(_guest(guest, text) for guest, text in story.guests.items()),
        wanted=tuple(_wanted(text) for text in story.wanted),
        faults=tuple(
            Fault(one.at, one.what, one.where, one.other, one.for_s, one.amount, one.step)
            for one in story.faults
        ),
        controllers=story.controllers,
        evacuate=story.evacuate,
        calm_s=story.calm,
    )


def _problems(story: StoryText) -> Any:
    controllers = {f"c{number + 1}" for number in range(story.controllers)}
    places = {*story.hosts, *controllers}
    for name, guest in story.guests.items():
        if guest.host not in story.hosts:
            yield f"guest {name} is on {guest.host}, which is no host of the story"
    for wish in story.wanted:
        if sum(map(bool, (wish.drain, wish.maintain, wish.balance, wish.move))) != 1:
            yield f"what is wanted at {wish.at:g} is no drain, maintenance, balance or move, or several of them"
        if (wish.drain or wish.maintain or wish.balance) and not story.controllers:
            yield "a drain, a maintenance, or a balance, needs a controller"
        if unknown := {*wish.drain, *wish.maintain, *([wish.to] if wish.move else [])} - set(story.hosts):
            yield f"what is wanted at {wish.at:g} names {', '.join(sorted(unknown))}, which is no host"
        if wish.move and wish.move not in story.guests:
            yield f"what is wanted at {wish.at:g} names {wish.move}, which is no guest"
    for fault in story.faults:
        if fault.what in OF_CONTROLLERS and not story.controllers:
            yield f"{fault.what} needs a controller"
        if unknown := {fault.where, fault.other} - places - {""}:
            yield f"the fault at {fault.at:g} names {', '.join(sorted(unknown))}, which is not in the story"
        if fault.step and fault.where not in story.hosts:
            yield f"the fault at {fault.at:g} waits for a step of no host"
        if fault.what not in ANYWHERE and fault.where not in places:
            yield f"the fault at {fault.at:g} does not say where"


def _host(name: str, text: HostText) -> HostPlan:
    size, rate = _size(text.memory), _rate(text.link)
    return HostPlan(name, size, text.cpus, rate, text.labels, text.bmc, text.lease)


def _guest(name: str, text: GuestText) -> GuestPlan:
    return GuestPlan(
        name, text.host, _size(text.memory), text.vcpus, _rate(text.writes), _size(text.working_set),
        text.computes, text.tide,
    )  # fmt: skip


def _wanted(text: WantedText) -> Wanted:
    return Wanted(
        at_s=text.at,
        guest=text.move,
        to=text.to,
        drain=tuple(text.drain),
        maintain=tuple(text.maintain),
        balance=text.balance,
        cancel_s=text.cancel_after,
        parallel=text.parallel,
        limits={"deadline_s": text.deadline},
    )


def _size(text: Size) -> int:
    return text if isinstance(text, int) else values.size_bytes(text)


def _rate(text: Size) -> float:
    return float(text if isinstance(text, int) else values.rate_bytes_per_s(text))


def _wrong(name: str, why: str) -> Refused:
    return Refused(
        what=f"the story {name} cannot be played",
        why=why,
        todo="Mend it; docs/reference/story-file.md has every key.",
        kind=Kind.USAGE,
    )
