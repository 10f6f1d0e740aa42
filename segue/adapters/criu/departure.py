"""An application leaves this host: frozen, dumped, sent, and held until it is known whose it is. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import structlog

from segue.adapters.criu import freezer, keys, look, memory, program
from segue.adapters.criu.hook import Hook, Word
from segue.adapters.criu.porter import Porter
from segue.adapters.criu.program import Container, Room
from segue.adapters.criu.running import Running
from segue.adapters.criu.watches import Watches
from segue.errors import Aborted
from segue.model.integrity import Blocks, Digests

END_S = 30.0
"""To let a dumped tree end, or go on."""
MEASURED_BYTES = 1 << 20
"""Less than this goes into the socket's buffer at once."""
PATIENCE_S = 2.0
"""For a CRIU that is to come to rest: it had the whole blackout before."""
READ_S = 0.2
"""So long an application may take to read what inotify has told it."""
FOLDER_S = 0.05
"""So long it may take to come to the end of a folder; after that it is taken along as it is, as some never do."""
READS_S = 0.005
"""It runs for so long before it is frozen again."""
log = structlog.get_logger()


class Departure:
    """One move of one container, on its source."""

    def __init__(self, container: Container, room: Room, hook: Path) -> None:
        self._container = container
        self._script = hook
        self._room = room
        self._hook: Hook | None = None
        self._porter: Porter | None = None
        self._dump: Running | None = None
        self._watches: Watches | None = None
        self._rounds = 0
        self.speed_bytes_per_s = 0.0
        """Of the last round in which enough was sent to say so."""
        self.round_s = 0.0
        """How long the last look at all its memory took."""
        self.stands = False
        """From the freezing until one of the two words: CRIU thaws the group for its own work meanwhile."""
        self.marks: list[tuple[str, float]] = []

    async def begin(
        self, address: str, secret: str, memory_bytes: int, *, channels: int = 2, within_s: float = 20.0
    ) -> None:
        """Makes room and connects to the target (host:port), while the application runs. Raises Aborted, OSError."""
        self._room.make(memory_bytes)
        self._room.configure(self._script)
        self._hook = Hook(self._room.top)
        host, _, port = address.rpartition(":")
        identity = keys.pem(secret).decode() if secret else ""
        order = {"host": host, "port": int(port), "channels": channels, "identity": identity}
        places = {
            "folder": str(self._room.images),
            "tree": str(self._container.files or ""),
            "parts": program.PARTS,
            "cgroup": str(self._container.cgroup),
            "pages": memory_bytes // memory.PAGE_BYTES,
        }
        self._rounds = 0
        self._porter = await Porter.start("ship_out", order | places)
        await self._porter.hear("connected", within_s)

    async def round(self, *, files_only: bool = False) -> int:
        """Sends what changed of its files and memory since the round before; how many bytes. Raises Aborted."""
        assert self._porter is not None
        self._rounds += 1
        begun_s = time.monotonic()
        self._porter.tell("files" if files_only else "round")
        sent_bytes, sending_s = (await self._porter.hear(f"round{self._rounds}", None)).split()
        sent = int(sent_bytes)
        if sent >= MEASURED_BYTES:
            self.speed_bytes_per_s = sent / max(float(sending_s), 1e-6)
        if not files_only:
            self.round_s = time.monotonic() - begun_s
        self._close_watches()
        self._watches = await asyncio.to_thread(Watches, self._container.cgroup)
        return sent

    def add(self, name: str, content: bytes) -> None:
        """A file that goes beside the images. Raises OSError."""
        (self._room.images / name).write_bytes(content)

    def take_up(self) -> None:
        """After a start of the agent: what it left as it stands, to be told `go` or `undo`."""
        if self._room.top.is_dir():
            self._hook = Hook(self._room.top)
            self._dump = Running.find(self._room.note)
            self.stands = self._dump is not None or freezer.is_frozen(self._container.cgroup)

    @property
    def begun(self) -> bool:
        """True while there is something of it to be ended, one way or the other."""
        return self._hook is not None

    async def freeze(self) -> float:
        """All processes stand; wall-clock seconds at which they did. Raises Aborted, TimeoutError."""
        begun_s = time.monotonic()
        await freezer.freeze(self._container.cgroup)
        while self._is_amid(time.monotonic() - begun_s):
            freezer.set_frozen(self._container.cgroup, frozen=False)
            if time.monotonic() > begun_s + READ_S:
                raise self._not_read()
            await asyncio.sleep(READS_S)
            await freezer.freeze(self._container.cgroup)
        self._close_watches()
        self.stands = True
        stood_s = time.time()
        self._mark("frozen")
        return stood_s

    def _is_amid(self, for_s: float) -> bool:
        """Whether it is to be let run once more, for a moment."""
        if self._watches is None:
            return False
        return self._watches.unread() or (for_s < FOLDER_S and self._watches.reading())

    async def dump(self) -> None:
        """Returns when all is dumped; CRIU then waits at its hook. What is dumped is sent meanwhile, and before it
        the last of the files. Raises Aborted."""
        assert self._hook is not None
        assert self._porter is not None
        self._porter.tell("begin")
        await self._porter.hear("ready", END_S)
        real = look.reads_as(self._container.cgroup) or (os.getuid(), os.getgid())
        command = program.checkpoint(self._container, self._room, real)
        self._dump = Running.start(command, self._room.log, self._room.note)
        if not await self._at_hook():
            raise self._not_dumped()
        # CRIU has thawed the cgroup for its own work; this second lock is ours alone.
        freezer.set_frozen(self._container.cgroup, frozen=True)
        self._mark("dumped")
        self._porter.tell("complete")

    async def restored(self, within_s: float) -> None:
        """Returns when the target has restored all and waits at its own hook. Raises Aborted, TimeoutError."""
        assert self._porter is not None
        await self._porter.hear("restored", within_s)
        self._mark("loaded there")

    async def digest(self, blocks: Blocks) -> Digests:
        """What its memory holds, once all is dumped. Raises OSError, ValueError."""
        return await asyncio.to_thread(memory.digest, self._container.cgroup, self._room.images, blocks)

    async def go(self) -> None:
        """It runs elsewhere: what stands here ends, and nothing of it can run any more. Safe to repeat."""
        if self._hook is not None:
            await self._hook.tell(Word.GO)
        await self._end()

    async def undo(self) -> None:
        """It stays: everything goes on as it stood. Safe to repeat, wherever it is."""
        if self._dump is not None and self._hook is not None and await self._at_rest():
            await self._hook.tell(Word.UNDO)
        await self._end()
        freezer.set_frozen(self._container.cgroup, frozen=False)

    async def settle_down(self) -> None:
        """Returns once CRIU has nothing half done: it waits at its hook, has ended, or was never begun."""
        if self._dump is not None and self._hook is not None:
            await self._at_rest()

    async def _at_rest(self) -> bool:
        """As `_at_hook`, for a CRIU that may itself stand still: it is woken, and ended as the last resort, as that
        leaves pieces of its own in the processes. Raises TimeoutError."""
        for word, within_s in ((0, PATIENCE_S), (signal.SIGCONT, END_S), (signal.SIGKILL, END_S)):
            if word:
                log.warning("CRIU does not come to an end", name=self._container.name, signal=word)
                program.signal(self._container, self._room, word)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    return await self._at_hook()
        raise TimeoutError("CRIU neither comes to its hook nor ends")

    async def _at_hook(self) -> bool:
        """Returns when CRIU waits at its hook (True), or has ended without having come so far."""
        assert self._hook is not None
        assert self._dump is not None
        asked, ended = asyncio.create_task(self._hook.asked()), asyncio.create_task(self._dump.wait())
        try:
            await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
            return asked.done()
        finally:
            asked.cancel()
            ended.cancel()

    async def _end(self) -> None:
        if self._dump is not None:
            await self._await_end(self._dump)
        if self._porter is not None:
            await self._porter.end()
        if self._hook is not None:
            self._hook.close()
            self._hook = None
        self._close_watches()
        self._room.clear()
        self.stands = False
        self._dump = self._porter = None

    async def _await_end(self, dump: Running) -> None:
        """It had its word. One that stands still is woken; the processes are safe behind their cgroup's lock."""
        for word, within_s in ((0, PATIENCE_S), (signal.SIGCONT, END_S), (signal.SIGKILL, END_S)):
            if word:
                program.signal(self._container, self._room, word)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    return await dump.wait()
        raise TimeoutError("CRIU does not end")

    def _close_watches(self) -> None:
        if self._watches is not None:
            self._watches.close()
            self._watches = None

    def _not_read(self) -> Aborted:
        return Aborted(
            what=f"{self._container.name} cannot be taken along",
            why=f"inotify has told it something that it has not read within {READ_S:g} s, and CRIU would drop that",
            todo="It runs on as before. Try again when it has read it; see docs/explanation/applications.md.",
        )

    def _mark(self, what: str) -> None:
        self.marks.append((what, time.time()))

    def _not_dumped(self) -> Aborted:
        said = program.reason(self._room, "dump")
        if not said:
            said = self._room.log.read_text(errors="replace").strip()[-300:]
        return Aborted(
            what=f"{self._container.name} cannot be taken along",
            why=f"CRIU did not dump it: {said or 'it gave no reason'}",
            todo="It runs on as before. Read what cannot move in docs/explanation/applications.md.",
        )
