"""An application comes to this host: received, restored, and held until it is known whose it is. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from segue.adapters.criu import freezer, keys, laziness, memory, mend, paging, program
from segue.adapters.criu.hook import Hook, Word
from segue.adapters.criu.porter import Porter
from segue.adapters.criu.program import Container, Room
from segue.adapters.criu.running import Running
from segue.adapters.inlet import Inlet
from segue.errors import Aborted, SegueError
from segue.model.integrity import Blocks, Digests

END_S = 30.0
PATIENCE_S = 2.0
"""For CRIU to do what it was told (our lab: 40 ms)."""
SAID_MAX = 500
log = structlog.get_logger()
Launch = Callable[[Sequence[str]], Awaitable[object]]
"""Has a command make the container, with pipes for its output as it was started with; returns when it runs.
Raises SegueError where the command fails."""
Held = Callable[[], Awaitable[None]]
"""Called once all is restored and frozen, before anybody hears of it. Raises SegueError: then it is not taken."""


async def _nothing() -> None:
    """Nobody wants to know."""


class Landing:
    """One move of one container, on its target."""

    def __init__(
        self, container: Container, room: Room, hook: Path, launch: Launch, held: Held = _nothing
    ) -> None:
        self._container = container
        self._held = held
        self._script = hook
        self._launch = launch
        self._room = room
        self._hook: Hook | None = None
        self._porter: Porter | None = None
        self._making: asyncio.Task[object] | None = None
        self._working: asyncio.Task[None] | None = None
        self._pager: Running | None = None
        self._paging: asyncio.Task[None] | None = None
        self.is_complete = False
        """All is restored and waits for the word to run."""
        self.told = False
        """The word to run was given: whatever happens then, it may have run here."""
        self.failure = ""
        self.marks: list[tuple[str, float]] = []

    @property
    def begun(self) -> bool:
        """True while there is something of it here."""
        return self._room.top.is_dir()

    @property
    def pid(self) -> int:
        """The process that listens; 0 where none does."""
        return self._porter.pid if self._porter is not None else 0

    async def open(
        self, inlet: Inlet, secret: str, memory_bytes: int, *, channels: int = 2, on_demand: bool = False
    ) -> str:
        """Waits for the images; host:port. What arrives is restored by itself.

        on_demand: it runs before its memory is in place, which lies in the images meanwhile.
        """
        self._room.make(2 * memory_bytes)  # What went before, and the images, in the worst case whole.
        self._room.configure(self._script, on_demand=on_demand)
        if on_demand:
            self._pager = paging.begin(self._container, self._room)
        self._hook = Hook(self._room.top)
        identity = keys.pem(secret).decode() if secret else ""
        order = {"channels": channels, "identity": identity, "folder": str(self._room.images)}
        order["inlet"] = asdict(inlet)
        if self._container.files is not None:
            order["tree"] = str(self._container.files)
        self._porter = await Porter.start("ship_in", order)
        port = await self._porter.hear("listening", END_S)
        self._working = asyncio.create_task(self._receive())
        return f"{inlet.address}:{port}"

    async def complete(self, within_s: float) -> bool:
        """True once it is; waits for that at most `within_s`."""
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=within_s)
        return self.is_complete

    async def digest(self, blocks: Blocks) -> Digests:
        """What the memory of what is complete holds. Raises OSError, ValueError."""
        return await asyncio.to_thread(memory.digest, self._container.cgroup, self._room.images, blocks)

    def take_up(self) -> None:
        """After a start of the agent: what was restored by then still waits; what was not is worth nothing."""
        if self._room.top.is_dir():
            self._hook = Hook(self._room.top)
            self.is_complete = self._hook.waits()
            self._pager = Running.find(self._room.pager_note)

    async def go(self, heard: Callable[[], Awaitable[None]]) -> float:
        """Lets it run; wall-clock seconds at which it did. Raises Aborted where it cannot.

        heard: what is done as soon as nobody can take the word back, before it has run.
        """
        self._mark("told")
        if self._hook is None or (self._making is not None and self._making.done()):
            raise self._not_restored("it waits for no word any more")
        self._thaw()
        # Whether somebody waits cannot be asked before: each look at it makes the script wait anew, for a moment.
        if not await self._hook.tell(Word.GO):
            if self._container.cgroup.is_dir():
                freezer.set_frozen(self._container.cgroup, frozen=True)
            raise self._not_restored("it waits for no word any more")
        self.told = True
        await heard()
        if self._making is not None:
            try:
                await self._made(self._making)
            except (SegueError, TimeoutError) as error:
                raise self._not_restored(str(error)) from error
        ran_s = time.time()
        await self._end(clears=self._pager is None)
        if self._pager is not None:
            self._paging = asyncio.create_task(self._await_pager(self._pager))
        return ran_s

    async def whole(self) -> None:
        """For one that runs: returns once all of its memory is in place, or it has ended. An agent that was restarted
        takes that up, too."""
        if self._paging is None:
            await self._end(clears=self._pager is None)
            if self._pager is None:
                return
            self._paging = asyncio.create_task(self._await_pager(self._pager))
        await asyncio.shield(self._paging)

    async def _await_pager(self, pager: Running) -> None:
        await pager.wait()
        with contextlib.suppress(OSError):
            if said := self._room.pager_log.read_text(errors="replace").strip():
                log.error("its memory was not put in place", name=self._container.name, said=said[-SAID_MAX:])
        self._room.clear()

    async def drop(self) -> None:
        """Nothing of what came stays, once the container is removed. Safe to repeat."""
        self.is_complete = False
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})
        if self._hook is not None and (self._making is None or not self._making.done()):
            await self._hook.tell(Word.UNDO)
        if self._making is not None:
            await self._unmade(self._making)
        program.signal(
            self._container, self._room, signal.SIGKILL
        )  # What waits for a word that nobody will say any more.
        # Before the lock goes: a script may have heard a word late that we took for lost, and CRIU have obeyed it.
        freezer.kill(self._container.cgroup)
        self._thaw()  # The next to come would be restored into a frozen group, and hang.
        if self._pager is not None:
            await self._pager.wait()
        await self._end()

    async def _made(self, making: asyncio.Future[object]) -> None:
        """CRIU was told to let it run. One that stands still is woken: what it made is all that there is."""
        done, _ = await asyncio.wait({making}, timeout=PATIENCE_S)
        if not done:
            program.signal(self._container, self._room, signal.SIGCONT)
        async with asyncio.timeout(END_S):
            await making

    async def _unmade(self, making: asyncio.Future[object]) -> None:
        """CRIU was told to undo it; what does not come to an end is ended, as nothing of it ever ran."""
        done, _ = await asyncio.wait({making}, timeout=PATIENCE_S)
        if not done:
            program.signal(self._container, self._room, signal.SIGKILL)
            freezer.kill(self._container.cgroup)
            done, _ = await asyncio.wait({making}, timeout=END_S)
        for made in done:
            made.exception()  # It failed, as it was told to.

    def _thaw(self) -> None:
        if self._container.cgroup.is_dir():
            freezer.set_frozen(self._container.cgroup, frozen=False)

    async def _receive(self) -> None:
        assert self._porter is not None
        try:
            await self._porter.hear("arrived", None)
            self._mark("arrived")
            await asyncio.to_thread(mend.mend, self._room.images)
            if self._pager is not None:
                await asyncio.to_thread(laziness.mark, self._room.images)
            await self._restore_all()
            await self._held()
        except (SegueError, OSError, ValueError) as error:
            self.failure = (
                error.why if isinstance(error, SegueError) else f"CRIU's images cannot be read: {error}"
            )
            await self._porter.leave(f"failed {self.failure}")
            return
        self.is_complete = True
        self._mark("restored")
        self._porter.tell("restored")

    async def _restore_all(self) -> None:
        assert self._hook is not None
        self._thaw()
        self._making = asyncio.ensure_future(self._launch(program.restore(self._container, self._room)))
        asked = asyncio.create_task(self._hook.asked())
        try:
            await asyncio.wait({asked, self._making}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                # A lock of our own beside the hook: until the word nothing of it runs, whatever becomes of CRIU.
                freezer.set_frozen(self._container.cgroup, frozen=True)
                return
        finally:
            asked.cancel()  # It would go on looking, at whatever has the FIFO's number then.
        raise self._not_restored(str(self._making.exception() or "it did not wait for its word"))

    async def _end(self, *, clears: bool = True) -> None:
        if self._porter is not None:
            await self._porter.end()
        if self._hook is not None:
            self._hook.close()
        if clears:
            self._room.clear()
        self._hook = self._porter = None

    def _mark(self, what: str) -> None:
        self.marks.append((what, time.time()))

    def _not_restored(self, otherwise: str) -> Aborted:
        return Aborted(
            what=f"{self._container.name} cannot be brought to life here",
            why=f"CRIU did not restore it: {program.reason(self._room, 'restore') or otherwise}",
            todo="Read CRIU's words in the agent's log; compare kernels and programs of the two hosts.",
        )
