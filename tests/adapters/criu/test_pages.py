"""Memory that goes before: whatever is left out on the source is found on the target, as CRIU would look for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.adapters.criu import images, pagemap
from segue.adapters.criu.pages import BLOCK_PAGES, COPIED, PAGE_BYTES, Sent, Telling
from segue.adapters.criu.stock import FOLDER, AtHand, Stock
from tests.adapters.criu.standing import Standing
from tests.thorough import examples

IN_MEMORY = "/dev/shm"
"""Where a file may be as long as an address space, as in a move's room."""
MAGIC = bytes(range(8))
HIGH = (1 << 35) - 6
"""The last pages of an address space of 47 bits; the blocks of places begin anew within."""
Memory = dict[int, int]
"""Number of the page in the address space -> what it holds."""
few = st.dictionaries(st.integers(250, 262) | st.integers(HIGH, HIGH + 5), st.integers(1, 9), max_size=12)
many = st.builds(
    lambda first, count, other: {at: at for at in range(first, first + count)} | other,
    st.integers(200, 260),
    st.integers(1, 70) | st.just(320),
    few,
)
"""Whole groups and blocks of neighbours among them."""
memories = few | many
fields = st.sampled_from(["few", "many"])


def page(number: int) -> bytes:
    """One of a few, so that the same comes often."""
    return number.to_bytes(2, "big") * (PAGE_BYTES // 2)


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


class Ends:
    """Both sides, without a connection between them."""

    def __init__(self, top: Path, most: int) -> None:
        self.here, self.there = top / "here", top / "there"
        self.here.mkdir()
        self.there.mkdir()
        self.sent, self.stock = Sent(most), Stock(self.there)
        self.bytes = 0

    def hear(self, what: str, name: str, offset: int, data: bytes) -> None:
        if what == "data":
            with (self.there / name).open("r+b" if (self.there / name).exists() else "wb") as file:
                file.seek(offset)
                file.write(data)
        else:
            self.bytes += len(data) if what == "pages" and name.startswith("pages-") else 0
            {"pages": self.stock.put, "copy": self.stock.copy}[what](name, offset, data)

    def round(self, name: str, memory: Memory) -> None:
        telling = Telling(self.hear)
        for first, count in in_blocks(memory):
            data = b"".join(page(memory[first + number]) for number in range(count))
            self.sent.put(self.sent.space(name), first, memoryview(data), bytes([1]) * count, telling)

    def last(self, name: str, memory: Memory) -> None:
        """A look while it stands."""
        self.round(name, memory)

    def dump(self, name: str, pages_id: int, memory: Memory, called: str) -> None:
        """As CRIU writes down where pages belong, and lets them lie where they are."""
        made = bytearray(MAGIC) + images.packed(pagemap.Head(pages_id=pages_id).SerializeToString())
        for first, count in neighbours(memory):
            number = {"few": count} if called == "few" else {"few": 0, "many": count}
            entry = pagemap.Entry(vaddr=first * PAGE_BYTES, flags=6, **number)
            made += images.packed(entry.SerializeToString())
        (self.here / f"pagemap-{name}.img").write_bytes(made)
        with (self.here / f"memory-{name}").open("wb") as file:
            for first, count in neighbours(memory):
                file.seek(first * PAGE_BYTES)
                file.write(b"".join(page(memory[first + number]) for number in range(count)))

    def settle(self) -> None:
        self.sent.settle(self.here, self.opened, self.hear)
        self.stock.settle()

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        with (self.here / f"memory-{name}").open("rb") as file:
            yield file.fileno()


def neighbours(memory: Memory) -> Iterator[tuple[int, int]]:
    """(first page, how many)"""
    left = sorted(memory)
    while left:
        count = next((n for n in range(1, len(left)) if left[n] != left[0] + n), len(left))
        yield left[0], count
        left = left[count:]


def in_blocks(memory: Memory) -> Iterator[tuple[int, int]]:
    """The same, as memory is read: none goes beyond its block."""
    for first, count in neighbours(memory):
        at = first
        while at < first + count:
            length = min(first + count - at, BLOCK_PAGES - at % BLOCK_PAGES)
            yield at, length
            at += length


def read(folder: Path, name: str) -> Memory:
    """As CRIU does it (criu/pagemap.c): page after page, those of the parent by their address."""
    parent: dict[int, int] = {}
    at = 0
    if (folder / FOLDER / name).exists():
        above = pagemap.parsed((folder / FOLDER / name).read_bytes(), name)
        for first, count in above.addresses():
            assert first == at, "a parent's file begins with its first page, and has all that follow"
            parent[first], at = count, at + count
    found, memory, at = pagemap.parsed((folder / name).read_bytes(), name), {}, 0
    with (folder / f"pages-{found.pages_id}.img").open("rb") as own:
        for entry in found.entries:
            for number in range(entry.many if entry.HasField("many") else entry.few):
                where = entry.vaddr // PAGE_BYTES + number
                if entry.flags & pagemap.PRESENT:
                    content = own.read(PAGE_BYTES)
                else:
                    assert entry.flags == pagemap.IN_PARENT
                    assert any(first <= where < first + count for first, count in parent.items())
                    with (folder / FOLDER / f"pages-{above.pages_id}.img").open("rb") as pages:
                        content = os.pread(pages.fileno(), PAGE_BYTES, where * PAGE_BYTES)
                memory[where] = int.from_bytes(content[:2], "big")
                assert content == page(memory[where])
        assert not own.read(1)
    return memory


@settings(deadline=None, max_examples=examples(60))
@given(
    before=st.lists(st.tuples(st.sampled_from("78"), memories), max_size=5),
    last=st.fixed_dictionaries({"7": memories, "8": memories, "shmem-3": memories}),
    unseen=st.sets(st.integers(190, 330) | st.integers(HIGH, HIGH + 5)),
    most=st.sampled_from([1000, 5000]),
    called=fields,
)
def test_memory_is_the_same_there(
    before: list[tuple[str, Memory]], last: dict[str, Memory], unseen: set[int], most: int, called: str
) -> None:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        ends = Ends(Path(folder), most)
        for name, memory in before:
            ends.round(name, memory)
        ends.bytes = 0
        ends.sent.stand()
        for number, (name, memory) in enumerate(last.items(), start=1):
            ends.last(name, {at: memory[at] for at in memory if at not in unseen})
            ends.dump(name, number, memory, called)
        ends.settle()
        for name, memory in last.items():
            assert read(ends.there, f"pagemap-{name}.img") == memory
        if most == 5000:
            held = dict[str, Memory]()
            for name, memory in before:
                held.setdefault(name, {}).update(memory)
            new = [at for name in last for at in last[name] if held.get(name, {}).get(at) != last[name][at]]
            assert ends.bytes <= len(new) * PAGE_BYTES


def test_what_stayed_where_it_was_is_neither_sent_nor_written(in_memory: Path) -> None:
    ends = Ends(in_memory, 1000)
    memory = {at: at for at in range(250, 600)}
    ends.round("7", memory)
    assert ends.bytes == 350 * PAGE_BYTES
    ends.round("7", memory)
    ends.round("7", dict.fromkeys(memory, 5))
    ends.round("7", memory)
    held = ends.stock.held_bytes()
    assert held == 350 * PAGE_BYTES, "what was written over takes no more"
    ends.bytes = 0
    last = memory | {300: 1000}
    ends.sent.stand()
    ends.last("7", last)
    ends.dump("7", 1, last, "many")
    ends.sent.settle(ends.here, ends.opened, ends.hear)
    assert ends.bytes == PAGE_BYTES
    assert ends.stock.held_bytes() == held + PAGE_BYTES, "the pagemap alone"
    assert read(ends.there, "pagemap-7.img") == last


def test_what_was_forked_late_is_not_sent_where_its_parent_has_it_still(in_memory: Path) -> None:
    ends, memory = Ends(in_memory, 1000), {at: at for at in range(256, 272)}
    ends.round("7", memory | {300: 9})
    ends.bytes = 0
    ends.sent.stand()
    parent = memory | {300: 9, 260: 1000}
    for number, (name, held) in enumerate({"7": parent, "8": memory}.items(), start=1):
        ends.last(name, held)
        ends.dump(name, number, held, "many")
    ends.settle()
    assert ends.bytes == 2 * PAGE_BYTES, "what the parent has written since, and what it was before"
    assert read(ends.there, "pagemap-7.img") == parent
    assert read(ends.there, "pagemap-8.img") == memory


def test_shared_memory_may_end_within_a_page(in_memory: Path) -> None:
    """A System V segment is as long as it was asked for; nobody may have touched it since it was restored."""
    ends, memory = Ends(in_memory, 1000), {0: 7, 1: 0x0102}
    ends.sent.stand()
    ends.dump("shmem-5", 1, memory, "many")
    with (ends.here / "memory-shmem-5").open("r+b") as file:
        file.truncate(PAGE_BYTES + 56)
    ends.settle()
    with (ends.there / FOLDER / "pages-1.img").open("rb") as pages:
        assert pages.read() == page(7) + page(0x0102)[:56] + bytes(PAGE_BYTES - 56)
    ends.dump("shmem-6", 2, memory, "many")
    with (ends.here / "memory-shmem-6").open("r+b") as file:
        file.truncate(PAGE_BYTES)
    with pytest.raises(ValueError, match="cannot be read"):
        ends.settle()


def test_more_than_there_is_room_for_is_said(in_memory: Path) -> None:
    ends = Ends(in_memory, 3)
    ends.round("7", {at: at for at in range(1, 6)})
    ends.sent.stand()
    with pytest.raises(ValueError, match="no room"):
        ends.last("7", {at: at for at in range(1, 8)})


@pytest.mark.skipif(os.geteuid() != 0, reason="reads another process's memory")
def test_a_connection_that_breaks_is_no_process_that_ended(tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ConnectionResetError("the other host closed the connection")

    process = Standing(tmp_path)
    try:
        with pytest.raises(ConnectionResetError):
            Sent(1000).round(process.group, broken)
    finally:
        process.end()


def test_pages_of_which_nothing_came_cannot_be_copied(tmp_path: Path) -> None:
    stock = Stock(tmp_path)
    with pytest.raises(ValueError, match="not come"):
        stock.copy("pages-1.img", 0, COPIED.pack(2, 0, 1))
    stock.put("pages-2.img", 0, page(1))
    stock.copy("pages-1.img", 0, COPIED.pack(2, 0, 1))
    for said in (COPIED.pack(2, 1, 1), COPIED.pack(2, (1 << 64) // PAGE_BYTES - 1, 1)[:-1]):
        with pytest.raises(ValueError, match=r"not come|half"):
            stock.move("pages-1.img", 0, said)


def test_memory_at_hand_is_there_until_it_is_freed() -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES

    at_hand, before = AtHand(), held()
    at_hand.grow(20 << 20)
    assert held() - before >= 20 << 20
    at_hand.free()
    assert held() - before < 4 << 20
    at_hand.grow(20 << 20)
    assert held() - before < 4 << 20
