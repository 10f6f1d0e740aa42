"""One leader for the fleet: a candidate campaigns, leads while its lease is confirmed, and stops in time.

It must never act on a lease that may be over; what guards when it does all the same is in policy/leadership.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import msgspec

from segue.engine import certainty
from segue.engine.clock import Clock
from segue.engine.store import Store
from segue.errors import Refused
from segue.model import store as nouns
from segue.model.leadership import EPOCH, HOLDER, Leader, NotLeading, Tenure
from segue.model.store import (
    Away,
    Compacted,
    Conflict,
    Fence,
    Lease,
    LeaseGone,
    OutcomeUnknown,
)
from segue.policy import leadership

TTL_S: Final = 5.0
"""Another leads about this long after a leader's last sign of life."""
AGAIN_S: Final = 0.25
RESIGN_S: Final = 1.0

Work = Callable[[Tenure], Awaitable[None]]


class Candidate:
    """One controller that may lead."""

    def __init__(self, store: Store, clock: Clock, name: str, ttl_s: float = TTL_S) -> None:
        self._store = store
        self._clock = clock
        self._name = name
        self._ttl_s = ttl_s
        self._tenure: Tenure | None = None

    def demand(self) -> Tenure:
        """To be asked before every act, not once: the tenure, if it surely lasts. Raises NotLeading."""
        tenure = self._tenure
        if tenure is None or not leadership.may_act(tenure, self._clock.steady_s()):
            raise NotLeading(self._name)
        return tenure

    async def reign(self, work: Work, seen_by_agents: int = 0) -> None:
        """Waits until this candidate leads, and does the work; returns when the work or the tenure has ended.

        The work is cancelled in time for its last act to be over before another can lead. Its errors are raised.
        """
        tenure = await self._win(seen_by_agents)
        self._tenure = tenure
        working = asyncio.ensure_future(work(tenure))
        serving = asyncio.create_task(self._serve(tenure))
        try:
            await asyncio.wait({working, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._tenure = None
            await _end(serving)
            await _end(working)
            await self._resign(tenure.lease)
        if not working.cancelled() and (error := working.exception()):
            raise error

    async def _win(self, seen_by_agents: int) -> Tenure:
        while True:
            try:
                holder = await self._store.get(HOLDER)
                if holder is not None:
                    await self._until_gone(holder.revision)
                elif tenure := await self._stand(seen_by_agents):
                    return tenure
            except Away:  # whoever leads now may go on; when the store is back, somebody wins
                await self._clock.rest(AGAIN_S)

    async def _until_gone(self, revision: int) -> None:
        with contextlib.suppress(Compacted):
            async with contextlib.aclosing(self._store.watch(HOLDER, revision)) as batches:
                async for batch in batches:
                    if any(event.key == HOLDER for event in batch.events):
                        return

    async def _stand(self, seen_by_agents: int) -> Tenure | None:
        """Takes the empty seat; None if another was faster."""
        asked_s = self._clock.steady_s()
        lease = await self._store.lease(self._ttl_s)
        last = await self._store.get(EPOCH)
        epoch = leadership.epoch_after(int(last.value) if last else 0, seen_by_agents)
        value = str(epoch).encode()
        raised = nouns.replace(last, value) if last else nouns.create(EPOCH, value)
        leader = msgspec.json.encode(Leader(self._name, epoch, self._clock.wall_s()))
        try:
            revision = await self._commit(nouns.create(HOLDER, leader, lease.id), raised)
        except (Conflict, LeaseGone, OutcomeUnknown):
            # If it was done after all, the seat is empty again when this lease has ended.
            await self._resign(lease)
            return None
        tenure = Tenure(self._name, epoch, Fence(HOLDER, revision), lease, asked_s)
        if leadership.may_act(tenure, self._clock.steady_s()):
            return tenure
        await self._resign(lease)
        return None

    async def _commit(self, *changes: nouns.Change) -> int:
        try:
            return await self._store.commit(*changes)
        except OutcomeUnknown as unknown:
            return await certainty.make_sure(self._store, unknown)

    async def _serve(self, tenure: Tenure) -> None:
        """Keeps the lease alive; returns when the leader has to stop."""
        while True:
            await self._clock.rest(max(0.0, leadership.renews_at_s(tenure) - self._clock.steady_s()))
            tenure = await self._confirm(tenure)
            if self._tenure is None or tenure.confirmed_s == self._tenure.confirmed_s:
                return
            self._tenure = tenure

    async def _confirm(self, tenure: Tenure) -> Tenure:
        """The tenure with a later confirmation, or the same one when its time is over."""
        while (rest_s := leadership.acts_until_s(tenure) - self._clock.steady_s()) > 0:
            asked_s = self._clock.steady_s()
            try:
                async with asyncio.timeout(rest_s):
                    await self._store.keep_alive(tenure.lease)
                    holder = await self._store.get(HOLDER)
            except LeaseGone:
                return tenure
            except (
                Refused,
                TimeoutError,
            ):  # away, or it lets us in no more: until the time is over, that may pass
                await self._clock.rest(min(AGAIN_S, max(rest_s, 0.0)))
                continue
            if holder is None or holder.revision != tenure.fence.revision:
                return tenure  # somebody took the key away by hand
            return replace(tenure, confirmed_s=asked_s)
        return tenure

    async def _resign(self, lease: Lease) -> None:
        """Lets another lead at once. If the store does not hear it, the lease ends by itself."""
        with contextlib.suppress(Refused, TimeoutError):
            async with asyncio.timeout(RESIGN_S):
                await self._store.revoke(lease)


async def _end(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
