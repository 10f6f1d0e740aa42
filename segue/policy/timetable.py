"""When each move of a wave begins and ends: links are shared, slots are limited, no link stands idle for want of order.

`admit` is what an executor asks as well, so that what was foreseen and what is done follow one rule.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from segue.model.fleet import Fleet, FleetGuest, Uplink
from segue.model.plan import Outlook
from segue.policy.evacuation import CALM_SHARE
from segue.policy.outlook import Basis

Link = tuple[str, str, str]
"""('out', '', host), ('in', '', host), ('up' or 'down', label, value)."""


@dataclass(frozen=True, slots=True)
class Slots:
    """How many moves may run at once; 0: as many as there are."""

    per_source: int = 4
    per_target: int = 4
    per_uplink: int = 16
    in_all: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One move as its links see it. work_bytes: all that travels; fixed_s: what it takes beside that."""

    guest: str
    source: str
    target: str
    links: tuple[Link, ...]
    work_bytes: float
    fixed_s: float
    dirty_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """When a move is expected to begin and to end, from the beginning of its wave."""

    begins_s: float
    ends_s: float


class Roads:
    """Links of a fleet with their speeds and slots."""

    def __init__(self, fleet: Fleet, slots: Slots) -> None:
        self.slots = slots
        self._hosts = {host.name: host for host in fleet.hosts}
        self._uplinks: Mapping[tuple[str, str], Uplink] = {(u.label, u.value): u for u in fleet.uplinks}
        self._labels = tuple(dict.fromkeys(uplink.label for uplink in fleet.uplinks))

    def job(self, guest: FleetGuest, source: str, target: str, outlook: Outlook, basis: Basis) -> Job:
        """The move as its links see it."""
        fixed_s = min(outlook.total_s, basis.lessons.fixed_total_s)
        path = min(self._hosts[source].link_bytes_per_s, self._hosts[target].link_bytes_per_s)
        work = (outlook.total_s - fixed_s) * path
        return Job(
            guest.name, source, target, self.between(source, target), work, fixed_s, guest.dirty_bytes_per_s
        )

    def speed(self, link: Link) -> float:
        """Bytes per second, one way."""
        way, label, name = link
        if way in {"out", "in"}:
            return self._hosts[name].link_bytes_per_s
        return self._uplinks[label, name].bytes_per_s

    def places(self, host: str) -> tuple[str, ...]:
        """Its domains that have uplinks: hosts with the same ones reach each other without."""
        return tuple(self._hosts[host].domain(label) for label in self._labels)

    def most(self, link: Link) -> int:
        """Moves that may use it at once."""
        way = link[0]
        found = {"out": self.slots.per_source, "in": self.slots.per_target}.get(way, self.slots.per_uplink)
        return found or 1 << 30

    def between(self, source: str, target: str) -> tuple[Link, ...]:
        """The links that a move uses."""
        links: list[Link] = [("out", "", source), ("in", "", target)]
        for label in self._labels:
            here, there = self._hosts[source].domain(label), self._hosts[target].domain(label)
            if here != there:
                if (label, here) in self._uplinks:
                    links.append(("up", label, here))
                if (label, there) in self._uplinks:
                    links.append(("down", label, there))
        return tuple(links)


def least_s(jobs: Sequence[Job], roads: Roads) -> float:
    """Seconds that the busiest link takes, or the longest job by itself: no order is faster."""
    loads: dict[Link, float] = {}
    longest = 0.0
    for job in jobs:
        slowest = min(roads.speed(link) for link in job.links)
        longest = max(longest, job.work_bytes / slowest + job.fixed_s)
        for link in job.links:
            loads[link] = loads.get(link, 0.0) + job.work_bytes
    return max([longest, *(load / roads.speed(link) for link, load in loads.items())])


def admit(waiting: Sequence[Job], running: Iterable[Job], roads: Roads) -> tuple[Job, ...]:
    """Which of those that wait begin now, in their order."""
    traffic = _Traffic(roads)
    for job in running:
        traffic.begin(job)
    begun = []
    for job in waiting:
        if traffic.blocked_by(job) is None:
            traffic.begin(job)
            begun.append(job)
    return tuple(begun)


def schedule(jobs: Sequence[Job], roads: Roads) -> list[Span]:
    """The span of each job, in the order of `jobs`.

    From each source the longest first, so that no link is idle at the end; those that need a link alone after all
    others, so that a guest which does not converge keeps nobody waiting.
    """
    return _Day(jobs, roads).spans()


class _Traffic:
    """What is under way on each link."""

    def __init__(self, roads: Roads) -> None:
        self._roads = roads
        self._count: Counter[Link] = Counter()
        self._copying: Counter[Link] = Counter()
        self._busiest_writer: dict[Link, list[float]] = {}
        self._running = 0

    def begin(self, job: Job) -> None:
        self._running += 1
        for link in job.links:
            self._count[link] += 1
            self._copying[link] += 1
            self._busiest_writer.setdefault(link, []).append(job.dirty_bytes_per_s)

    def end(self, job: Job) -> None:
        self._running -= 1
        for link in job.links:
            self._count[link] -= 1
            self._busiest_writer[link].remove(job.dirty_bytes_per_s)

    def copied(self, job: Job) -> None:
        """It keeps its slots until it ends, but has nothing more to send."""
        for link in job.links:
            self._copying[link] -= 1

    def blocked_by(self, job: Job) -> Link | None:
        """The link that has no place for it, or an empty one where the whole fleet has none.

        A guest that writes much has its link alone while it is copied, but not one that writes more than the link
        carries: that one does not converge alone either, and keeps nobody waiting.
        """
        most = self._roads.slots.in_all
        if most and self._running >= most:
            return ("", "", "")
        for link in job.links:
            count = self._count[link]
            if count >= self._roads.most(link):
                return link
            speed = self._roads.speed(link)
            part = speed / (count + 1)
            under_way = [rate for rate in self._busiest_writer.get(link, ()) if rate < speed]
            writers = max([job.dirty_bytes_per_s, *under_way])
            if count and writers > CALM_SHARE * part:
                return link
        return None

    def rate(self, job: Job) -> float:
        """Its equal part of its narrowest link; a stream that gets more elsewhere only ends sooner."""
        return min(self._roads.speed(link) / self._copying[link] for link in job.links)


@dataclass(slots=True)
class _Run:
    """A job under way: what was left when its rate changed last."""

    job: Job
    begun_s: float
    left_bytes: float
    at_s: float
    rate: float = 0.0
    version: int = 0
    copied: bool = False


@dataclass(slots=True)
class _Day:
    """Plays one wave through."""

    jobs: Sequence[Job]
    roads: Roads
    _now_s: float = 0.0
    _runs: dict[int, _Run] = field(default_factory=dict)
    _on_link: dict[Link, set[int]] = field(default_factory=dict)
    _events: list[tuple[float, int, int]] = field(default_factory=list)
    _queues: dict[str, list[int]] = field(default_factory=dict)
    _waits_for: dict[Link, set[str]] = field(default_factory=dict)

    def spans(self) -> list[Span]:
        traffic = _Traffic(self.roads)
        spans: list[Span | None] = [None] * len(self.jobs)
        for number in sorted(range(len(self.jobs)), key=self._turn):
            self._queues.setdefault(self.jobs[number].source, []).append(number)
        self._begin(self._queues, traffic)
        while self._events:
            self._now_s, number, version = heapq.heappop(self._events)
            run = self._runs.get(number)
            if run is None or run.version != version:
                continue
            if not run.copied:
                self._copied(number, run, traffic)
                continue
            traffic.end(run.job)
            del self._runs[number]
            spans[number] = Span(run.begun_s, self._now_s)
            woken = {run.job.source, *self._waits_for.pop(("", "", ""), ())}
            for link in run.job.links:
                woken |= self._waits_for.pop(link, set())
            self._begin(sorted(woken), traffic)
        return [span for span in spans if span is not None]

    def _turn(self, number: int) -> tuple[bool, float]:
        job = self.jobs[number]
        slowest = min(self.roads.speed(link) for link in job.links)
        return job.dirty_bytes_per_s > CALM_SHARE * slowest / 2, -job.work_bytes

    def _copied(self, number: int, run: _Run, traffic: _Traffic) -> None:
        run.copied = True
        run.version += 1
        traffic.copied(run.job)
        self._rates(run.job.links, traffic)
        heapq.heappush(self._events, (self._now_s + run.job.fixed_s, number, run.version))

    def _begin(self, sources: Iterable[str], traffic: _Traffic) -> None:
        for source in list(sources):
            queue = self._queues.get(source, [])
            for number in queue.copy():
                job = self.jobs[number]
                blocked = traffic.blocked_by(job)
                if blocked is not None:
                    self._waits_for.setdefault(blocked, set()).add(source)
                    continue
                queue.remove(number)
                traffic.begin(job)
                self._runs[number] = _Run(job, self._now_s, job.work_bytes, self._now_s)
                for link in job.links:
                    self._on_link.setdefault(link, set()).add(number)
                self._rates(job.links, traffic)

    def _rates(self, links: Iterable[Link], traffic: _Traffic) -> None:
        """After something began or ended on these links."""
        for number in sorted({n for link in links for n in self._on_link.get(link, ())}):
            run = self._runs.get(number)
            if run is None or run.copied:
                for link in self.jobs[number].links:
                    self._on_link[link].discard(number)
                continue
            run.left_bytes = max(0.0, run.left_bytes - run.rate * (self._now_s - run.at_s))
            run.at_s = self._now_s
            run.rate = traffic.rate(run.job)
            run.version += 1
            heapq.heappush(self._events, (self._now_s + run.left_bytes / run.rate, number, run.version))
