"""A small world that implements the engine's ports: what exists on two hosts, and who runs the guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from segue.engine.run import Run
from segue.errors import SegueError
from segue.model.arrival import Flow, Presence, Serving
from segue.model.guest import Guest
from segue.model.guest_clock import ClockStep
from segue.model.integrity import Blocks, Digests
from segue.model.ladder import Shape
from segue.model.landing import Handed, Landing, Placement, Region
from segue.model.lifecycle import Event
from segue.model.migration import Failure, Limits, Migration, Outcome, Progress, after
from segue.model.notice import Arrival, Board, Care, NoticeState
from segue.model.storage import DiskFile, DiskProgress, Layer

MEMORY_BYTES = 1 << 28


class Killed(BaseException):
    """The agent's process ends here; nothing of it runs any more."""


@dataclass
class World:
    """What a crash of the agent does not change."""

    phase: str = "owner"
    runs: set[str] = field(default_factory=lambda: {"source"})
    target_copy: bool = False
    tunnel: bool = False
    copying: bool = False
    steered: bool = False
    source_copy: bool = True
    marks: list[tuple[str, str]] = field(default_factory=list)
    record: Migration = field(
        default_factory=lambda: Migration("m-000001", "web1", "source", "target", Limits(), 0.0)
    )
    deeds: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)
    dies_at: int = -1
    grant_lost: int = 0
    returns: bool = False
    corrupt_page: int = -1
    corrupt_disk: bool = False
    board: Board = field(default_factory=Board)
    target_told: str = ""
    waits: list[str] = field(default_factory=list)
    ready_after: int = 0
    set_back_s: float = 0.0
    """By so much the wall clock is set back while the guest is waited for."""
    looks: int = 0
    now_s: float = 0.0
    target_disks: bool = False
    mirrors: bool = False
    tied: bool = False
    lost_looks: int = 0
    """While memory is copied so many looks find that the mirrors have lost the target, 10 s apart."""
    target_equal: bool = False
    write_hangs: bool = False
    """QEMU is deaf while it stops the guest: a write of it waits for the target's disk."""
    kept: bool = False
    armed: bool = False
    switched: bool = False
    """post-copy: the source's QEMU never runs its guest again, but still can be revived."""
    pages: int = 3
    cuts: int = 0
    """post-copy: how often the path still breaks."""
    path: bool = True
    way: str = "target:1"
    """Where the connection for its memory goes."""
    source_dies: bool = False
    """post-copy: the source's QEMU dies while it serves pages."""
    target_dies: bool = False
    lent: str = ""
    pulls: int = 0

    def deed(self, name: str) -> None:
        """Everything that is done is noted; some of it fails, and once the agent dies."""
        self.deeds.append(name)
        assert len(self.runs) <= 1, f"two copies run: {self.deeds}"
        if len(self.deeds) == self.dies_at:
            raise Killed(name)
        if self.fails.get(name, 0) > 0:
            self.fails[name] -= 1
            raise ConnectionError(f"{name} fails")

    def memory(self, host: str, blocks: Blocks) -> Digests:
        """Digests of memory that is all the same but for one page on the target."""
        at = blocks.offsets or range(0, MEMORY_BYTES, blocks.block_bytes)
        bad = self.corrupt_page if host == "target" else -1
        return Digests(tuple("bad" if o <= bad < o + blocks.block_bytes else "good" for o in at))

    def run(self) -> Run:
        """The ports, made anew as a restarted agent makes them."""
        guest = Guest(name="web1", uuid="u", memory_bytes=MEMORY_BYTES)
        return Run(
            guest,
            Here(self),
            Net(self),
            Disks(self),
            Peer(self),
            Custody(self),
            Record(self),
            Notice(self),
            Clock(self),
        )


@dataclass
class Here:
    """GuestHere."""

    world: World

    def alive(self) -> bool:
        return self.world.source_copy

    async def secret(self, migration: str) -> str:
        self.world.deed("secret")
        return "5e"

    async def regions(self) -> tuple[Region, ...]:
        return ()

    async def begin_copy(self, landing: Landing, limits: Limits, shape: Shape, *, gated: bool) -> None:
        self.world.deed("begin copy")
        self.world.copying = True

    async def throttle(self, slowdown: float) -> None:
        self.world.deed("throttle")

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        for number in range(1, 10):
            await asyncio.sleep(0)
            self.world.deed(f"round {number}")
            yield Progress(
                round=number, total_bytes=1, transferred_bytes=number, link_bytes_per_s=1e9, remaining_bytes=0
            )

    async def ease(self) -> None:
        self.world.deed("ease")

    async def go_first(self) -> None:
        self.world.deed("go first")

    def give_way(self) -> None:
        self.world.deed("give way")

    async def look(self) -> float:
        self.world.deed("look")
        return 0.0

    async def sent(self, within_s: float) -> None:
        self.world.deed("sent")

    async def stop(self) -> float:
        self.world.deed("stop")
        self.world.runs.discard("source")
        if self.world.write_hangs:
            await asyncio.Event().wait()
        return 1.0

    def marks(self) -> tuple[tuple[str, float], ...]:
        return (("last pass", 1.001),)

    async def at_gate(self, within_s: float) -> None:
        self.world.deed("at gate")
        assert "source" not in self.world.runs, "the gate is for a guest that stands"

    async def pass_gate(self) -> None:
        self.world.deed("pass gate")
        assert not self.world.mirrors, "its disks are still being written"

    async def completed(self, within_s: float) -> bool:
        self.world.deed("completed")
        self.world.copying = False
        self.world.switched = self.world.armed
        return not self.world.armed

    async def arm_post_copy(self) -> None:
        self.world.deed("arm")
        assert self.world.record.post_copy, (
            "an agent that dies now would not know what its successor has to do"
        )
        self.world.armed = True

    async def serve_all(self, bytes_per_s: int, address: str) -> None:
        self.world.deed("serve all")
        assert address == self.world.way, "the pace would stay on a connection that is gone"
        assert "target" in self.world.runs or not self.world.source_copy, "it waits for its devices' pages"

    async def serving(self) -> Serving:
        world = self.world
        world.deed("serving")
        if world.source_dies and world.pages < 3:
            world.source_copy = False
        if not world.source_copy:
            return Serving(Flow.GONE)
        if world.cuts and world.pages < 3:
            world.cuts, world.path = world.cuts - 1, False
        if not world.switched or not world.pages:
            return Serving(Flow.WHOLE)
        if world.path:
            world.pages -= 1
        flow = Flow.FLOWING if world.path else Flow.BROKEN
        return Serving(flow, remaining_bytes=world.pages, transferred_bytes=3 - world.pages, total_bytes=3)

    async def let_go(self) -> None:
        self.world.deed("let go")
        self.world.path = False

    async def reconnect(self, address: str) -> bool:
        self.world.deed("reconnect")
        assert address == "target:2"
        self.world.path, self.world.way = True, address
        return True

    async def cancel_copy(self) -> None:
        self.world.deed("cancel copy")
        assert not self.world.write_hangs, "QEMU hears nothing"
        self.world.copying = False

    async def extent(self, block_bytes: int) -> tuple[int, ...]:
        """See engine/ports.py: one piece."""
        return ()

    async def sample(self, pages: int) -> tuple[int, ...]:
        self.world.deed("sample")
        return (0, 8192)

    async def digest(self, blocks: Blocks) -> Digests:
        self.world.deed("digest")
        assert "source" not in self.world.runs, "a running guest's memory is never twice the same"
        return self.world.memory("source", blocks)


@dataclass
class Net:
    """Network."""

    world: World

    async def prepare(self, landing: Landing, tunnel_id: int) -> None:
        self.world.deed("prepare network")
        self.world.tunnel = True

    async def tell(self) -> None:
        self.world.deed("tell connections")

    def steer(self) -> None:
        self.world.deed("steer")
        assert self.world.tunnel, "frames are steered into nothing"
        self.world.steered = True

    async def drain(self) -> None:
        self.world.deed("drain")

    def rescue(self) -> int:
        self.world.deed("rescue")
        assert "source" not in self.world.runs, "a running guest would lose every other frame"
        return 0

    async def mute(self) -> None:
        self.world.deed("mute")

    async def let_learn(self) -> None:
        self.world.deed("let learn")

    def steered_frames(self) -> int:
        return 0

    async def clear(self) -> None:
        self.world.deed("clear network")
        self.world.tunnel = self.world.steered = False


@dataclass
class Disks:
    """Disks: mirrored while `mirrors`, equal at every instant while `tied`."""

    world: World

    async def offer(self) -> str:
        self.world.deed("offer")
        self.world.lent = "nothing"
        return "source:3"

    async def lend(self, address: str) -> None:
        self.world.deed("lend")
        assert address == "source:3"
        assert "source" not in self.world.runs, "lent while it is written"
        assert not self.world.copying, "QEMU has not let go of it"
        self.world.lent = "disks"

    async def send_layers(self, address: str) -> None:
        self.world.deed("send layers")

    async def begin(self, address: str, bytes_per_s: int) -> None:
        self.world.deed("begin mirrors")
        assert self.world.target_disks, "mirrored into nothing"
        self.world.mirrors = True

    async def progress(self) -> tuple[DiskProgress, bool]:
        self.world.deed("mirror progress")
        if self.world.copying and self.world.lost_looks > 0:
            self.world.lost_looks -= 1
            self.world.now_s += 10.0
            self.world.tied = False
            return DiskProgress(1, 1), False
        return DiskProgress(1, 1), self.world.mirrors

    async def tie(self, within_s: float, waits_s: float) -> None:
        self.world.deed("tie")
        self.world.tied = True

    async def digest(self) -> dict[str, Digests]:
        self.world.deed("digest disks")
        return {"disk0": Digests(("good",))}

    async def cut(self) -> None:
        self.world.deed("cut")
        assert self.world.mirrors, "no mirror"
        assert self.world.tied, "the target's disks are not equal"
        assert "source" not in self.world.runs, "what it writes now is lost on the target"
        self.world.mirrors = False
        self.world.target_equal = True

    async def hang_up(self) -> None:
        self.world.deed("hang up")
        self.world.write_hangs = False

    async def stop(self) -> None:
        self.world.deed("stop mirrors")
        self.world.mirrors = self.world.tied = False
        self.world.lent = ""

    def keep(self) -> None:
        self.world.deed("keep")
        assert not self.world.lent or self.world.pulls >= 3, "put aside while it is read"
        assert "target" in self.world.runs or self.world.record.failure, "put aside before the target ran"
        self.world.kept = True


@dataclass
class Peer:
    """The target's agent."""

    world: World

    async def awake(self, guest: str, migration: str) -> None:
        self.world.deed("awake")
        assert "source" in self.world.runs, "it stands while the target is waited for"

    async def place_storage(self, placement: Placement) -> Landing:
        self.world.deed("place storage")
        assert placement.copies
        self.world.target_disks = True
        return Landing("", "", "target:2")

    async def layers_sent(self, guest: str, migration: str, layers: tuple[Layer, ...]) -> None:
        self.world.deed("layers sent")

    async def pulled(self, guest: str) -> tuple[DiskProgress, bool]:
        self.world.deed("pulled")
        assert self.world.lent == "disks"
        self.world.pulls += 1
        return DiskProgress(3, self.world.pulls), self.world.pulls >= 3

    async def close_storage(self, guest: str, migration: str) -> None:
        self.world.deed("close storage")
        assert not self.world.mirrors, "closed while it is written"

    async def place(self, placement: Placement) -> Landing:
        self.world.deed("place")
        self.world.target_copy = True
        if placement.copies and placement.origin:
            self.world.target_disks = True
        return Landing("target:1", "target", placement.origin or ("target:2" if placement.copies else ""))

    async def clock(self) -> tuple[float, float]:
        self.world.deed("clock")
        return 0.0, 0.0

    async def digest_disks(
        self, guest: str, migration: str, disks: tuple[DiskFile, ...], within_s: float
    ) -> dict[str, Digests]:
        self.world.deed("digest disks there")
        return {"disk0": Digests(("bad" if self.world.corrupt_disk else "good",))}

    async def digest(self, guest: str, blocks: Blocks, within_s: float) -> Digests:
        self.world.deed("their digest")
        return self.world.memory("target", blocks)

    async def arrived(self, guest: str, arrival: Arrival) -> None:
        self.world.deed("arrived")
        assert self.world.runs == {"target"}
        self.world.target_told = arrival.board.state

    async def care(self, guest: str, migration: str, within_s: float) -> Care:
        self.world.deed("care")
        return Care(clock=ClockStep(lag_s=0.01, stepped_s=0.01))

    async def arrival(self, guest: str, migration: str, loaded_within_s: float = 0.0) -> Presence:
        world = self.world
        world.deed("arrival")
        if world.target_dies and "target" in world.runs and world.pages < 3:
            world.target_copy = False
            world.runs.discard("target")
        if not world.target_copy:
            return Presence(Flow.GONE)
        return Presence(Flow.FLOWING if world.path else Flow.BROKEN, loaded=True)

    async def reopen(self, guest: str, migration: str) -> str:
        self.world.deed("reopen")
        return "target:2"

    async def memory_lost(self, guest: str, migration: str) -> Presence:
        self.world.deed("memory lost")
        self.world.target_copy = False
        self.world.runs.discard("target")
        return Presence(Flow.GONE)

    async def settled(self, guest: str, migration: str) -> None:
        self.world.deed("settled")


@dataclass
class Custody:
    """The token; what it says outlives the agent."""

    world: World

    async def begin(self, target: str, migration: str) -> int:
        self.world.deed("begin")
        self.world.phase = "offered"
        return 1

    def released(self, migration: str) -> bool:
        return self.world.phase in {"released", "absent"}

    async def hand_over(self) -> Handed:
        world = self.world
        world.deed("hand over")
        assert "source" not in world.runs, "given away while it runs"
        world.phase = "released"
        world.deed("grant")
        if world.returns:
            world.phase, world.target_copy, world.switched = "owner", False, False
            world.runs.add("source")
            return Handed(returned=True)
        assert world.target_equal or world.lent == "disks" or not world.record.copies, (
            "it would run with a disk that lags behind"
        )
        world.runs.add("target")
        world.deed("confirmed")
        return Handed(returned=False, resumed_at_s=1.01)

    async def give_up(self) -> None:
        self.world.deed("give up")
        assert self.world.phase != "released", "given away, and taken back without the target's word"
        self.world.phase = "owner"
        self.world.target_copy = self.world.target_disks = self.world.target_equal = self.world.switched = (
            False
        )
        if self.world.source_copy:
            self.world.runs.add("source")

    async def retire(self) -> None:
        self.world.deed("retire")
        needed = self.world.switched and self.world.pages and self.world.target_copy
        assert not needed, "the target's guest still needs our memory"
        self.world.phase, self.world.source_copy = "absent", False


@dataclass
class Notice:
    """The board; it outlives the agent. Who is in `answers` gets ready after so many looks."""

    world: World

    def board(self) -> Board:
        return self.world.board

    def most_s(self) -> float:
        return 300.0

    def announce(self, begins_at_s: float) -> Board:
        self.world.deed("announce")
        if self.world.board.state is not NoticeState.PENDING:
            self.world.board = replace(
                self.world.board, state=NoticeState.PENDING, begins_at_s=begins_at_s, migration="m-000001"
            )
        return self.world.board

    async def changed(self, within_s: float) -> None:
        self.world.deed("wait for ready")
        self.world.now_s += within_s
        self.world.looks += 1
        if 0 < self.world.ready_after <= self.world.looks:
            self.world.board = replace(self.world.board, ready=("db",))

    def conclude(self, *, moved: bool) -> Board:
        self.world.deed("conclude")
        state = NoticeState.ENDED if moved else NoticeState.CANCELLED
        if self.world.board.state is not NoticeState.NONE:
            self.world.board = replace(self.world.board, state=state, ready=())
        return self.world.board


@dataclass
class Record:
    """The record, kept in the world."""

    world: World

    @property
    def now(self) -> Migration:
        return self.world.record

    def advance(self, event: Event) -> None:
        self.world.record = after(self.world.record, event, 1.0)

    def at_step(self, step: str) -> None:
        self.world.record = replace(self.world.record, step=step)

    def progress(self, progress: Progress) -> None:
        self.world.record = replace(self.world.record, progress=progress)

    def disks(self, progress: DiskProgress) -> None:
        self.world.record = replace(self.world.record, disks=progress)

    def goes_before_its_memory(self) -> None:
        self.world.record = replace(self.world.record, post_copy=True)

    def landing(self, landing: Landing) -> None:
        self.world.record = replace(self.world.record, landing=landing)

    def outcome(self, outcome: Outcome) -> None:
        self.world.record = replace(self.world.record, outcome=outcome)

    def remember(self, outcome: Outcome) -> None:
        self.outcome(outcome)

    def waiting(self, what: str) -> None:
        if what:
            self.world.waits.append(what)

    def failed(self, error: Exception) -> None:
        self.world.deeds.append(f"failed: {error}")
        word = error.consequence if isinstance(error, SegueError) else "aborted"
        self.world.record = replace(self.world.record, failure=Failure(word, str(error), "", ""))


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wall_s(self) -> float:
        return self._world.now_s - (self._world.set_back_s if self._world.looks else 0.0)

    def steady_s(self) -> float:
        return self._world.now_s

    async def rest(self, seconds: float) -> None:
        self._world.now_s += seconds


@dataclass
class Log:
    """The saga log, kept in the world; a mark counts as a deed, so the agent may die right after it."""

    world: World

    def begun(self, step: str) -> None:
        self._mark("begun", step)

    def done(self, step: str) -> None:
        self._mark("done", step)

    def undoing(self) -> None:
        self._mark("undoing", "")

    def undone(self, step: str) -> None:
        self._mark("undone", step)

    def marks(self) -> list[tuple[str, str]]:
        return list(self.world.marks)

    def _mark(self, mark: str, step: str) -> None:
        self.world.marks.append((mark, step))
        self.world.deed(f"mark {mark} {step}")
