"""Sends a guest's memory and device state to another QEMU; when is for others to decide."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import structlog

from segue.adapters.qemu import copy_end, postcopy, settings
from segue.adapters.qemu.copy_end import ACTIVE
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Event, QemuGone, stamp_s
from segue.adapters.qemu.speed import Speed, Writes
from segue.errors import Aborted
from segue.model.ladder import Shape
from segue.model.landing import Landing
from segue.model.migration import Limits, Progress

log = structlog.get_logger()

AT_GATE_BYTES = 1 << 40
"""Of a guest that stands nothing can be missed; its disks' bitmaps count as something left, which must not matter."""
WINDOW_S = 0.1
"""QEMU's BUFFER_DELAY: a copy that has sent all that it may sleeps until such a window is over."""
SENT_LOOK_S = 0.001
FEW_BYTES = 1 << 20
"""So little is sent together with what was written since, in about 2 ms."""
REST_S = 0.002
"""What is sent in this time, too, on a fast path."""
AHEAD_S = 0.0002
"""To turn the frames away and to stop the guest takes 1 ms, and QEMU counts its windows in full milliseconds."""
BUSY_S = 0.05
"""For a guest that wrote more than is sent in this time, looks follow one another without a pause."""
DOZES_S = 0.02
"""What sends nothing for this long sleeps, and was not only kept from a processor."""
CALM_S = 0.005
"""Until they find no more than is sent in this time: then QEMU would do nothing but look."""
ROUND_S = 10.0
"""QEMU comes to a round within 100 ms, or after it has sent what it had begun with on a slow path."""
LOOK_S = 0.01
ORDINARY_BYTES = 1 << 20
"""Before a post-copy: a rest no larger than this is sent the ordinary way, which is as fast and leaves no risk."""
HEEDED_S = 0.25
"""QEMU works out its threshold when a window is over; one worked out before would end the copy the ordinary way, with
all that is left sent while the guest stands."""
AHEAD_ARMED_S = 0.006
"""A copy that has woken before it hears of the stop hears of it 50 ms later; to hear of it early costs less."""
SETTLED_S = 0.055
"""QEMU sends for up to 50 ms (MAX_WAIT) before it looks at its limits."""
MARKS = 8
"""More than a blackout has."""


class MemoryCopy:
    """The source's half. The switch-over is held until the guest is stopped by us: QEMU, asked for an
    acknowledgement that no target ever sends, keeps copying; a stopped guest it completes at once, and
    having seen our stop first it can never start the guest again by itself.

    Rounds are asked for, by a downtime limit above zero and back. A limit that stays above zero would have QEMU
    re-read the bitmap of an idle guest without a pause, thousands of times a second under its big lock, and the
    command to stop would wait for that lock (measured: up to 250 ms). QEMU looks at its limits every 100 ms; a trickle
    of a bandwidth makes it sleep for the rest of such a window after one look. When it wakes it finds the limit back at
    zero and sends all. For a guest that writes much the limit stays: a look follows when all is sent, each finds less
    than the one before, nobody waits for the lock, and no time of the path is lost.

    A copy with nothing left to send is not quiet: without a limit it sends empty messages as fast as it can, and a
    target that has to decrypt each of them falls behind (measured: 45 ms after some 10 ms). One that is limited sleeps,
    and hears of a stop up to 100 ms late. So the guest is stopped right before the copy wakes, or, where more has to be
    sent, right before all is: see `look` and `sent`.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = "none"
        self._rounds = 0
        self._started_s = self._synced_s = time.monotonic()
        self._writes = Writes()
        self._bandwidth = settings.FREE_SPEED
        self._asking = False
        self._wakes_s = 0.0
        self._found_bytes = 0
        self._speed = Speed()
        self._flowing = self._armed = False
        self._marks: deque[tuple[str, float]] = deque(maxlen=MARKS)
        machine.monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self._status = str(event["data"]["status"])
            if self._status == "completed":
                self._marks.append(("loaded there", stamp_s(event)))
        elif event["event"] == "MIGRATION_PASS":
            self._rounds = int(event["data"]["pass"])
            self._synced_s = time.monotonic() - max(0.0, time.time() - stamp_s(event))
            self._marks.append(("last round", stamp_s(event)))
        elif event["event"] == "STOP":
            self._marks.clear()

    def marks(self) -> tuple[tuple[str, float], ...]:
        """(what, wall-clock seconds) since the guest stood, by QEMU's own time stamps."""
        return tuple(self._marks)

    async def begin(
        self, landing: Landing, limits: Limits, shape: Shape, tls_creds: str, *, gated: bool
    ) -> None:
        """Starts the copy to where the target listens; a copy that already goes on is left alone.

        tls_creds: QEMU's object with the key of this migration, empty for a plain channel.
        gated: stop before the devices' state, for disks that are still being copied; their dirty bitmaps go along.
        """
        if (status := await self._refresh()) == "cancelling":
            raise copy_end.stuck(self._machine.guest.name)
        if status in ACTIVE:
            return
        self._bandwidth = limits.bandwidth_bytes_per_s or settings.FREE_SPEED
        execute = self._machine.monitor.execute
        await execute(
            "migrate-set-capabilities", capabilities=settings.capabilities(limits, shape, gated=gated)
        )
        await execute("migrate-set-parameters", **settings.parameters(limits, shape, tls_creds))
        await self._machine.describe(devices=not landing.without_description)
        self._started_s = time.monotonic()
        host, _, port = landing.memory_address.rpartition(":")
        channel = {
            "channel-type": "main",
            "addr": {"transport": "socket", "type": "inet", "host": host, "port": port},
        }
        await execute("migrate", channels=[channel])
        if not await copy_end.set_up(self._machine):
            raise copy_end.unanswered(self._machine.guest.name, landing.memory_address)

    async def throttle(self, slowdown: float) -> None:
        """Slows the guest's processors down, within about 2 s. QEMU lets go of them when the copy ends."""
        await self._machine.monitor.execute("migrate-set-parameters", **settings.throttle(slowdown))

    async def bandwidth(self, bytes_per_s: int) -> None:
        """Another cap for the copy, at once or with the round that is just asked for; 0 means none."""
        self._bandwidth = bytes_per_s or settings.FREE_SPEED
        self._speed.forget()
        if not self._asking:
            await self._machine.monitor.execute("migrate-set-parameters", max_bandwidth=self._bandwidth)

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """A sample at each look at what the guest wrote, and at least every `within_s` seconds."""
        while True:
            async for sample in self._drained(within_s):
                yield sample
            await self._round()
            yield await self.sample()
            while self._flowing and self._speed.takes_s(self._found_bytes) > CALM_S:
                async for sample in self._flow(within_s):
                    yield sample
            await self.ease()

    async def ease(self) -> None:
        """Nobody stops the guest for a while: what is known is sent, and no look follows by itself."""
        self._flowing = False
        await self._machine.monitor.execute(
            "migrate-set-parameters", downtime_limit=0, max_bandwidth=self._bandwidth
        )

    async def arm(self) -> None:
        """Has the copy go over to post-copy when the guest stands. Safe to repeat; cancelled as ever.

        A downtime limit above zero is what makes QEMU look once more at the guest's memory when it stands. With
        none it would take what it knows for all there is, and send the rest while the guest stands.

        Until the guest runs there nothing but the pages that its devices wait for is sent (`PageServer.serve_all`):
        what is sent in the background keeps the target from loading them, and both hosts from the handoff (our lab,
        two processors: 70 ms of blackout instead of 46).
        """
        self._armed, self._flowing = True, False
        await self._machine.monitor.execute("migrate-start-postcopy")
        await self._machine.monitor.execute(
            "migrate-set-parameters",
            downtime_limit=1,
            avail_switchover_bandwidth=ORDINARY_BYTES * 1000,
            max_bandwidth=self._bandwidth,
            max_postcopy_bandwidth=settings.LITTLE,
        )
        await asyncio.sleep(HEEDED_S)  # The guest runs on; QEMU does not say when it has heeded a parameter.

    async def look(self) -> float:
        """Has QEMU read the dirty bitmap, unless it just did; seconds until it begins to send what it found.

        Before a post-copy nothing needs to be found: then it is the time until QEMU would hear of a stop at once.
        """
        if self._flowing:
            return 0.0
        if self._armed:
            return await self._window()
        if self._wakes_s <= time.monotonic():
            async for _ in self._drained(within_s=ROUND_S):
                continue
            await self._round()
        return max(0.0, self._wakes_s - time.monotonic())

    async def sent(self, within_s: float) -> None:
        """Returns when nearly all is sent that `look` found: for the next moment the copy hears of a stop at once.

        Raises Aborted, TimeoutError.
        """
        if self._flowing and self._writes.bytes_per_s >= self._speed.bytes_per_s:
            return  # It grows while it is sent.
        async with asyncio.timeout(within_s):
            few = self._armed or (self._found_bytes <= FEW_BYTES and not self._flowing)
            ahead_s = AHEAD_ARMED_S if self._armed else AHEAD_S
            until_s = self._wakes_s - (ahead_s if few else 0.0)
            while (left_s := until_s - time.monotonic()) > 0:
                await self._pause(left_s)
            few_bytes = max(FEW_BYTES, int(self._speed.bytes_per_s * REST_S))
            while not few and (await self._query()).remaining_bytes > few_bytes:
                await self._pause(SENT_LOOK_S)

    async def _window(self) -> float:
        """Has the copy sleep; seconds until it wakes, and sends freely.

        One that floods the path hears of a stop up to 50 ms late, and what it has queued has to arrive before the
        devices' state does. A trickle shows by the little that is sent when the copy wakes and sleeps again.
        """
        self._asking = True
        await self._machine.monitor.execute("migrate-set-parameters", max_bandwidth=settings.TRICKLE)
        await self._pause(SETTLED_S)
        before, begun_s = await self._query(), time.monotonic()
        unchanged_s = asked_s = begun_s
        while (await self._query()).remaining_bytes == before.remaining_bytes:
            if time.monotonic() - begun_s > 2 * WINDOW_S:
                self._asking = False
                return 0.0  # It has nothing to send, and does not sleep.
            unchanged_s = asked_s
            await self._pause(SENT_LOOK_S)
            asked_s = time.monotonic()
        self._wakes_s = unchanged_s + WINDOW_S  # Or a little later: when it began is seen one look late.
        await self._asleep(await self._query())
        self._asking = False
        await self._machine.monitor.execute("migrate-set-parameters", max_bandwidth=self._bandwidth)
        return self._wakes_s - time.monotonic()

    async def _drained(self, within_s: float) -> AsyncIterator[Progress]:
        """Until all that is known to be dirty has been sent; meanwhile a sample every `within_s`."""
        shown_s = time.monotonic()
        known = await self._query()
        self._speed.begin(known.copied_bytes, self._wakes_s)
        while known.remaining_bytes > 0 or known.total_bytes == 0:
            self._speed.see(known.copied_bytes)
            if time.monotonic() - shown_s >= within_s:
                shown_s = time.monotonic()
                yield await self.sample()
            await self._pause(LOOK_S)
            known = await self._query()

    async def _flow(self, within_s: float) -> AsyncIterator[Progress]:
        """A guest that writes much: the next look comes when all is sent, without a pause; a sample then."""
        before, last_s = self._rounds, self._synced_s
        self._speed.begin((await self._query()).copied_bytes, self._wakes_s)
        while not await self._pause(within_s, lambda: self._rounds > before):
            yield await self.sample()
        known = await self._query()
        self._learn(last_s, known)
        self._speed.see(known.copied_bytes)
        yield await self.sample()

    def _learn(self, last_s: float, known: Progress) -> None:
        """What a look found that came after one at `last_s`."""
        self._found_bytes = known.remaining_bytes
        self._writes.see(self._found_bytes, self._synced_s - last_s)

    async def _round(self) -> None:
        """Has QEMU read the dirty bitmap, and learns how much the guest had written since the last time."""
        last_s, self._asking = self._synced_s, True
        await self._next_pass(downtime_limit=1, max_bandwidth=settings.TRICKLE)
        self._wakes_s = self._synced_s + WINDOW_S
        known = await self._query()
        self._learn(last_s, known)
        self._flowing = self._speed.takes_s(self._found_bytes) > BUSY_S
        if not self._flowing:
            await self._asleep(known)
        self._asking = False
        if self._flowing:
            await self._machine.monitor.execute("migrate-set-parameters", max_bandwidth=self._bandwidth)
        else:
            await self.ease()

    async def _asleep(self, known: Progress) -> None:
        """Returns once the copy sleeps. QEMU does not say so, but then it sends nothing.

        One that hears of its bandwidth before it sleeps sends all at once and then reads the bitmap without a pause,
        until the window is over.
        """
        sent_bytes = -1
        while known.transferred_bytes > sent_bytes and time.monotonic() < self._wakes_s - DOZES_S:
            sent_bytes = known.transferred_bytes
            await self._pause(DOZES_S)
            known = await self._query()

    async def _next_pass(self, **parameters: Any) -> None:
        before = self._rounds
        await self._machine.monitor.execute("migrate-set-parameters", **parameters)
        try:
            await self._machine.monitor.until(lambda: self._rounds > before or self._ended, within_s=ROUND_S)
        except TimeoutError as error:
            raise TimeoutError(f"what was sent did not get through within {ROUND_S:.0f} s") from error

    async def _pause(self, seconds: float, met: Callable[[], bool] = lambda: False) -> bool:
        """Waits until `met`, or that long: was it met? Raises Aborted or QemuGone for a copy that has ended."""
        try:
            await self._machine.monitor.until(lambda: self._ended or met(), within_s=seconds)
        except TimeoutError:
            return False
        if self._ended:
            raise await self._ended_early()
        return True

    @property
    def _ended(self) -> bool:
        return self._status not in ACTIVE

    async def sample(self) -> Progress:
        """Where the copy stands now; what the guest wrote since the last round is estimated."""
        known = await self._query()
        unseen = self._writes.bytes_per_s * (time.monotonic() - self._synced_s)
        return replace(
            known,
            remaining_bytes=known.remaining_bytes + int(min(unseen, known.total_bytes)),
            dirty_bytes_per_s=self._writes.bytes_per_s,
        )

    async def _query(self) -> Progress:
        info = await self._machine.monitor.execute("query-migrate")
        ram = info.get("ram", {})
        return Progress(
            round=int(ram.get("dirty-sync-count", 0)),
            total_bytes=int(ram.get("total", 0)),
            remaining_bytes=int(ram.get("remaining", 0)),
            transferred_bytes=int(ram.get("transferred", 0)),
            copied_bytes=int(ram.get("normal-bytes", 0)),
            link_bytes_per_s=self._speed.bytes_per_s,
            slowdown=info.get("cpu-throttle-percentage", 0) / 100,
            elapsed_s=time.monotonic() - self._started_s,
        )

    async def at_gate(self, within_s: float) -> None:
        """The guest stands: returns when all but its devices' state is sent. Raises Aborted, TimeoutError."""
        if not self._armed:  # Else it would send the rest the ordinary way.
            # Bitmaps count as something left to send; with the limit at zero QEMU would wait for them for ever.
            await self._machine.monitor.execute(
                "migrate-set-parameters",
                downtime_limit=1000,
                avail_switchover_bandwidth=AT_GATE_BYTES * 1000,
            )
        at_gate = {"pre-switchover"}
        await self._machine.monitor.until(
            lambda: self._status in at_gate or self._status not in ACTIVE, within_s=within_s
        )
        if self._status not in at_gate:
            raise await self._ended_early()

    async def pass_gate(self) -> None:
        """The devices' state may follow."""
        await self._machine.monitor.execute("migrate-continue", state="pre-switchover")

    async def completed(self, within_s: float) -> bool:
        """True when the target said that it loaded everything; False when the rest is to follow by post-copy.

        Raises Aborted, TimeoutError, QemuGone.
        """
        await self._machine.monitor.until(lambda: self._status not in ACTIVE, within_s=within_s)
        if self._status in postcopy.SWITCHED:
            return False
        if self._status != "completed":
            raise await self._ended_early()
        return True

    async def cancel(self, within_s: float = 10.0) -> None:
        """Ends a copy wherever it is, also when the link is dead; then another may begin. Safe to repeat.

        Raises TimeoutError, QemuRefused, QemuGone.
        """
        if self._status in {"none", "setup"}:
            await copy_end.set_up(self._machine)
        self._status = await copy_end.end(self._machine, within_s)
        await self._machine.describe(devices=True)  # An older agent that moves it next says nothing of it.

    async def _refresh(self) -> str:
        self._status = await postcopy.status(self._machine)
        return self._status

    async def _ended_early(self) -> Aborted | QemuGone:
        info = await self._machine.monitor.execute("query-migrate")
        reason = info.get("error-desc", f"QEMU says {info.get('status', 'nothing')}")
        return Aborted(
            what=f"the copy of {self._machine.guest.name}'s memory ended before its time",
            why=str(reason),
            todo="Look at the link between the two hosts and at the target's QEMU, then try again.",
        )
