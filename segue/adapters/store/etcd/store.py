"""A fleet's store in etcd, over its JSON gateway. It must never hand on an answer that etcd did not give."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Final

from segue.adapters.store.etcd import gateway, shapes, stream
from segue.adapters.store.etcd.gateway import EtcdError, Gateway, NoAnswer
from segue.adapters.store.etcd.place import EtcdPlace
from segue.adapters.store.etcd.words import Json, Words, creates
from segue.errors import SegueError
from segue.model import store as nouns
from segue.model.store import (
    Batch,
    Change,
    Commit,
    Compacted,
    Conflict,
    Entry,
    Fence,
    Fenced,
    Lease,
    LeaseGone,
    OutcomeUnknown,
    Page,
)

PAGE: Final = 2000
ONCE_S: Final = 60
"""How long a commit that creates a key is remembered: longer than any of its requests is worth."""
ONCE_LEAST_S: Final = 30.0


class EtcdStore:
    """Port `Store`. To be made inside the event loop that uses it."""

    def __init__(
        self, place: EtcdPlace, limit_s: float = gateway.LIMIT_S, attempt_s: float = gateway.ATTEMPT_S
    ) -> None:
        self._gateway = Gateway(place, limit_s, attempt_s)
        self._words = Words(place.prefix)
        self._once = Lease(0, 0.0)
        self._once_until_s = 0.0
        self._once_lock = asyncio.Lock()
        self._seen = 0

    async def get(self, key: str) -> Entry | None:
        """See the port."""
        found = await self._range({"key": self._words.key(key)})
        return next(iter(self._words.entries(found)), None)

    async def list(self, prefix: str) -> AsyncGenerator[Page, None]:
        """See the port."""
        found = await self._range({**self._words.span(prefix), "limit": str(PAGE)})
        revision = found.header.revision
        page = Page(revision, self._words.entries(found))
        yield page
        while found.more:
            span = self._words.span(prefix, after=page.entries[-1].key)
            found = await self._range({**span, "limit": str(PAGE), "revision": str(revision)})
            page = Page(revision, self._words.entries(found))
            yield page

    async def commit(self, *changes: Change, fence: Fence | None = None, tag: str = "") -> int:
        """See the port."""
        wish = Commit(tag or secrets.token_urlsafe(16), changes, fence)
        nouns.demand_lawful(wish)
        self._demand_open()
        once_lease = await self._once_lease() if creates(wish) else 0
        since = self._seen
        txn = self._words.txn(wish, once_lease, last_time=bool(tag))
        try:
            answer = await self._gateway.call("/v3/kv/txn", txn, shapes.Txn)
        except NoAnswer as error:
            if error.sent:
                raise OutcomeUnknown(wish, str(error), since) from error
            raise gateway.told(error) from error
        except EtcdError as error:
            raise self._refusal(wish, once_lease, error) from error
        if answer.value.succeeded:
            self._seen = max(self._seen, answer.value.header.revision)
            return answer.value.header.revision
        return self._not_done(wish, answer, since)

    def _not_done(self, wish: Commit, answer: gateway.Answer[shapes.Txn], since: int) -> int:
        """Why the conditions did not hold; perhaps because an earlier attempt was done after all."""
        txn = answer.value
        found = [next(iter(self._words.entries(part.response_range)), None) for part in txn.responses]
        here = found[: len(wish.changes)]
        if done := next((entry.revision for entry in here if entry and entry.tag == wish.tag), 0):
            return done
        if answer.doubtful:
            raise OutcomeUnknown(wish, "an attempt was not answered, and meanwhile others wrote", since)
        if wish.fence is not None and _revision(found[len(here)]) != wish.fence.revision:
            raise Fenced(wish.fence)
        for change, entry in zip(wish.changes, here, strict=True):
            if _revision(entry) != change.revision:
                raise Conflict(change.key, entry)
        # Only the mark of words.py was in the way: it was tried before, and may have been done then.
        raise Conflict(wish.changes[0].key, here[0])

    def _refusal(self, wish: Commit, once_lease: int, error: EtcdError) -> SegueError:
        if "lease not found" not in str(error):
            return gateway.told(error)
        self._once_until_s = 0.0
        bound = next((change.lease for change in wish.changes if change.lease), once_lease)
        return LeaseGone(bound)

    async def _once_lease(self) -> int:
        """The lease of the marks: a new one each half minute, so that no mark outlives its use for long."""
        if not self._seen:
            await self._range(self._anything())
        async with self._once_lock:
            if time.monotonic() + ONCE_LEAST_S > self._once_until_s:
                asked_s = time.monotonic()
                self._once = await self.lease(ONCE_S)
                self._once_until_s = asked_s + ONCE_S
            return self._once.id

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """See the port."""
        found = await self._range(self._anything())
        if after > found.header.revision:
            raise Compacted(after, f"this store is at revision {found.header.revision} and was never there")
        async with contextlib.aclosing(stream.watch(self._gateway, self._words, prefix, after)) as batches:
            async for batch in batches:
                self._demand_open()
                yield batch

    async def lease(self, ttl_s: float) -> Lease:
        """See the port. The number is ours, so that asking twice gives one lease."""
        nouns.demand_lawful_ttl(ttl_s)
        number = secrets.randbits(62) + 1
        try:
            body = {"ID": str(number), "TTL": str(math.ceil(ttl_s))}
            answer = await self._call("/v3/lease/grant", body, shapes.Granted)
        except EtcdError as error:
            if "already exists" not in str(error):
                raise gateway.told(error) from error
            return Lease(number, float(math.ceil(ttl_s)))
        return Lease(number, float(answer.TTL))

    async def keep_alive(self, lease: Lease) -> None:
        """See the port."""
        try:
            answer = await self._call("/v3/lease/keepalive", {"ID": str(lease.id)}, shapes.KeptAlive)
        except EtcdError as error:
            if error.code == gateway.NOT_FOUND:
                raise LeaseGone(lease.id) from error
            raise gateway.told(error) from error
        if answer.result.TTL <= 0:
            raise LeaseGone(lease.id)

    async def revoke(self, lease: Lease) -> None:
        """See the port."""
        try:
            await self._call("/v3/lease/revoke", {"ID": str(lease.id)}, shapes.Done)
        except EtcdError as error:
            if error.code != gateway.NOT_FOUND:
                raise gateway.told(error) from error

    async def close(self) -> None:
        """See the port."""
        await self._gateway.close()

    # How it is done

    async def _range(self, body: Json) -> shapes.Range:
        try:
            found = await self._call("/v3/kv/range", body, shapes.Range)
            self._seen = max(self._seen, found.header.revision)
            return found
        except EtcdError as error:
            if error.code == gateway.OUT_OF_RANGE:
                raise Compacted(int(str(body.get("revision", 0))), str(error)) from error
            raise gateway.told(error) from error

    def _anything(self) -> Json:
        """The smallest question whose answer has the store's revision."""
        return {**self._words.span(""), "limit": "1", "keys_only": True}

    async def _call(self, path: str, body: Json, shape: type[gateway.T]) -> gateway.T:
        """For calls that change nothing anybody could miss."""
        self._demand_open()
        try:
            return (await self._gateway.call(path, body, shape)).value
        except NoAnswer as error:
            raise gateway.told(error) from error

    def _demand_open(self) -> None:
        if self._gateway.closed:
            raise gateway.closed()


def _revision(entry: Entry | None) -> int:
    return entry.revision if entry else 0
