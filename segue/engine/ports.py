"""What the engine needs of the world. Adapters know nothing of this file; agent/wiring.py proves that they fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from segue.model.arrival import Presence, Serving
from segue.model.integrity import Blocks, Digests
from segue.model.ladder import Shape
from segue.model.landing import Handed, Landing, Placement, Region
from segue.model.lifecycle import Event
from segue.model.migration import Limits, Migration, Outcome, Progress
from segue.model.notice import Arrival, Board, Care
from segue.model.storage import DiskFile, DiskProgress, Layer


class GuestHere(Protocol):
    """The guest on this host, as its QEMU shows it. All may be called twice."""

    def alive(self) -> bool:
        """False once its QEMU has ended."""
        ...

    async def secret(self, migration: str) -> str:
        """The key of this migration's channels, made or found again; empty where they are plain."""
        ...

    async def regions(self) -> tuple[Region, ...]:
        """Where a machine's devices are in its address space now; nothing for whoever has none."""
        ...

    async def begin_copy(self, landing: Landing, limits: Limits, shape: Shape, *, gated: bool) -> None:
        """Starts to copy memory to where the target said; held before the end until the guest stands still.

        gated: it stops once more before the devices' state is sent, see `at_gate`.
        """
        ...

    async def throttle(self, slowdown: float) -> None:
        """Takes this share of their time from the guest's processors, until the copy ends, however it ends."""
        ...

    def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """A sample where each round ends, at least every `within_s`; raises Aborted when it broke."""
        ...

    async def ease(self) -> None:
        """The guest is not stopped soon: its copy takes no more looks of its own accord."""
        ...

    async def go_first(self) -> None:
        """It is about to stand: the copies of others that leave this host stand back. Raises nothing."""
        ...

    def give_way(self) -> None:
        """It runs again, here or there. Safe to repeat; raises nothing."""
        ...

    async def look(self) -> float:
        """One last look at what the guest wrote; seconds until that begins to be sent."""
        ...

    async def sent(self, within_s: float) -> None:
        """All of it is sent: whoever stops the guest now stops it at the best moment. Raises Aborted, TimeoutError."""
        ...

    async def stop(self) -> float:
        """Stops the vCPUs; wall-clock seconds at which they stood. Until `give_way` other processes stand back."""
        ...

    def marks(self) -> tuple[tuple[str, float], ...]:
        """What happened to the copy since the guest stood, by this host's wall clock; only to be shown."""
        ...

    async def at_gate(self, within_s: float) -> None:
        """Returns once all memory of the standing guest is sent. Raises Aborted, TimeoutError."""
        ...

    async def pass_gate(self) -> None:
        """The disks are done with: the rest may follow."""
        ...

    async def completed(self, within_s: float) -> bool:
        """True once all is loaded there, False once it is to run before that. Raises Aborted, TimeoutError."""
        ...

    async def arm_post_copy(self) -> None:
        """When the guest is stopped, the rest of its memory will follow it: what it waits for, and no more until
        `serve_all`."""
        ...

    async def serve_all(self, bytes_per_s: int, address: str) -> None:
        """post-copy, once the guest runs there: all of its memory follows; evenly, as fast as that, 0 for no cap.

        address: host:port that the connection goes to."""
        ...

    async def serving(self) -> Serving:
        """post-copy: what is still to be sent, and whether that can go on."""
        ...

    async def let_go(self) -> None:
        """post-copy: gives up a connection over which nothing comes; both sides then wait for another."""
        ...

    async def reconnect(self, address: str) -> bool:
        """post-copy: goes on over a new connection; False when that did not succeed."""
        ...

    async def cancel_copy(self) -> None:
        """Ends the copy wherever it is."""
        ...

    async def sample(self, pages: int) -> tuple[int, ...]:
        """Offsets of so many random pages of its memory that hold something."""
        ...

    async def extent(self, block_bytes: int) -> tuple[int, ...]:
        """Where all that it holds lies, in blocks; nothing where that is one piece of the guest's size."""
        ...

    async def digest(self, blocks: Blocks) -> Digests:
        """What these parts of its memory hold; for a guest that stands."""
        ...


class Network(Protocol):
    """The source's end of the steering of one guest's frames."""

    async def prepare(self, landing: Landing, tunnel_id: int) -> None:
        """Tunnel and hooks are ready; nothing is steered yet."""
        ...

    async def tell(self) -> None:
        """The target hears of connections that are new."""
        ...

    def steer(self) -> None:
        """From here on frames for the guest wait at the target."""
        ...

    async def drain(self) -> None:
        """Lets the still running guest take what already waits for it."""
        ...

    def rescue(self) -> int:
        """Sends what a standing guest did not take after the others; how many frames."""
        ...

    async def mute(self) -> None:
        """Broadcasts now reach the target by themselves."""
        ...

    async def let_learn(self) -> None:
        """This host's own bridge may learn the new place, too: those beside the guest then go there directly."""
        ...

    def steered_frames(self) -> int:
        """Frames sent through the tunnel so far."""
        ...

    async def clear(self) -> None:
        """Frames go into the guest here again, those that were steered while it stood first; the tunnel is gone."""
        ...


class Disks(Protocol):
    """The disks that only this host has. All may be called twice."""

    async def offer(self) -> str:
        """Lets the target reach them, empty as yet; where (NBD), host:port."""
        ...

    async def lend(self, address: str) -> None:
        """The guest stands and QEMU has let go of them: what the target reaches at `address` are the disks now."""
        ...

    async def send_layers(self, address: str) -> None:
        """Sends the files below them that the target lacks."""
        ...

    async def begin(self, address: str, bytes_per_s: int) -> None:
        """Starts to copy them to `address`, as fast as that; 0 for no cap."""
        ...

    async def progress(self) -> tuple[DiskProgress, bool]:
        """How far, and if all is copied once and follows; what lost the target tries again. Raises Aborted if over."""
        ...

    async def tie(self, within_s: float, waits_s: float) -> None:
        """A write ends when both sides have it; `waits_s` in vain: the copy is over. Raises Aborted, TimeoutError."""
        ...

    async def cut(self) -> None:
        """Both sides are equal and the guest stands: ends the copy. Raises Aborted where they are not."""
        ...

    async def digest(self) -> dict[str, Digests]:
        """What is in each, one digest for each MiB; for a guest that stands, and after `cut`."""
        ...

    async def hang_up(self) -> None:
        """What waits for the target fails at once: a QEMU that is deaf because of that hears again."""
        ...

    async def stop(self) -> None:
        """Ends the copy wherever it is, and lends nothing any more."""
        ...

    def keep(self) -> None:
        """They are not the guest's any more: another name, and a grace time."""
        ...


class Peer(Protocol):
    """The target's agent. Errors: Refused (its word), ConnectionError and TimeoutError (no word)."""

    async def awake(self, guest: str, migration: str) -> None:
        """Returns once it answers; one that is restarted is waited for. From now on the guest goes first there."""
        ...

    async def place_storage(self, placement: Placement) -> Landing:
        """Makes empty disks there, and lets us write them."""
        ...

    async def layers_sent(self, guest: str, migration: str, layers: tuple[Layer, ...]) -> None:
        """What lies below the disks has arrived."""
        ...

    async def pulled(self, guest: str) -> tuple[DiskProgress, bool]:
        """How much of the lent disks is there, and whether all of it is."""
        ...

    async def close_storage(self, guest: str, migration: str) -> None:
        """All is written: the files there are flushed and closed when this returns."""
        ...

    async def place(self, placement: Placement) -> Landing:
        """Makes an empty paused copy there."""
        ...

    async def clock(self) -> tuple[float, float]:
        """(offset, uncertainty) in seconds of the peer's wall clock against ours."""
        ...

    async def digest(self, guest: str, blocks: Blocks, within_s: float) -> Digests:
        """What these parts of the complete copy there hold."""
        ...

    async def digest_disks(
        self, guest: str, migration: str, disks: tuple[DiskFile, ...], within_s: float
    ) -> dict[str, Digests]:
        """What is in each of these disks, which were copied there."""
        ...

    async def arrived(self, guest: str, arrival: Arrival) -> None:
        """The guest runs there: it is told, and its clock is looked after. Said twice, done once."""
        ...

    async def care(self, guest: str, migration: str, within_s: float) -> Care:
        """What became of that; waits for its end at most `within_s`."""
        ...

    async def arrival(self, guest: str, migration: str, loaded_within_s: float = 0.0) -> Presence:
        """post-copy: how much of the guest is there; waits until its devices are."""
        ...

    async def reopen(self, guest: str, migration: str) -> str:
        """post-copy: the target waits for another connection at the address returned."""
        ...

    async def memory_lost(self, guest: str, migration: str) -> Presence:
        """post-copy: our half of the memory is gone; unless theirs is whole, the guest there is ended."""
        ...

    async def settled(self, guest: str, migration: str) -> None:
        """The source needs nothing more of this migration's tunnel."""
        ...


class Custody(Protocol):
    """The guest's token in this host's durable journal; the only place that may let vCPUs run."""

    async def begin(self, target: str, migration: str) -> int:
        """Marks the guest as offered; its epoch."""
        ...

    async def hand_over(self) -> Handed:
        """Writes `released` and grants until answered; returns only with the target's word."""
        ...

    async def give_up(self) -> None:
        """Takes back an offer that was not released: a guest that stands runs here again, the target is told."""
        ...

    def released(self, migration: str) -> bool:
        """True once this migration's handoff is in the journal as given away."""
        ...

    async def retire(self) -> None:
        """The target runs it: the copy here is ended, only the tombstone in the journal stays."""
        ...


class SagaLog(Protocol):
    """What was begun, done and undone, written before it happens."""

    def begun(self, step: str) -> None:
        """`step` is about to be carried out."""
        ...

    def done(self, step: str) -> None:
        """`step` is complete."""
        ...

    def undoing(self) -> None:
        """From here on only undos are carried out."""
        ...

    def undone(self, step: str) -> None:
        """`step` is taken back."""
        ...

    def marks(self) -> list[tuple[str, str]]:
        """(mark, step) in the order written."""
        ...


class Notice(Protocol):
    """What the guest is told of this migration, and what it answers."""

    def board(self) -> Board:
        """As it stands."""
        ...

    def most_s(self) -> float:
        """The longest time that this host gives to a guest that asks for it."""
        ...

    def announce(self, begins_at_s: float) -> Board:
        """Tells it; where it was told already, the time that was named then holds."""
        ...

    async def changed(self, within_s: float) -> None:
        """Returns when somebody answered, or the time is over."""
        ...

    def conclude(self, *, moved: bool) -> Board:
        """Tells it that it is over, or cancelled."""
        ...


class Record(Protocol):
    """The migration's record: kept, and shown to whoever watches."""

    @property
    def now(self) -> Migration:
        """The record as it stands."""
        ...

    def advance(self, event: Event) -> None:
        """Next stage, written durably."""
        ...

    def at_step(self, step: str) -> None:
        """The step that is being carried out."""
        ...

    def progress(self, progress: Progress) -> None:
        """Shown, not kept."""
        ...

    def disks(self, progress: DiskProgress) -> None:
        """Shown, not kept."""
        ...

    def goes_before_its_memory(self) -> None:
        """Kept: from here on this is a post-copy."""
        ...

    def landing(self, landing: Landing) -> None:
        """Kept, so that a restarted agent can go on."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """Kept, written durably."""
        ...

    def remember(self, outcome: Outcome) -> None:
        """Kept without waiting for the disk: for the blackout, where every write costs the client."""
        ...

    def waiting(self, what: str) -> None:
        """Shown, not kept: what is waited for, and how long still; empty when it is over."""
        ...

    def failed(self, error: Exception) -> None:
        """Keeps and shows why."""
        ...
