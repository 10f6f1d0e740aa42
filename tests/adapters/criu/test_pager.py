"""Pages that are put in place as they are asked for, by the real program and the real kernel; CRIU is played here."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from segue.adapters.criu import images, pagemap, pager, userfault
from segue.adapters.criu.holes import Holes
from segue.adapters.criu.pagemap import IN_PARENT, LAZY, PAGE_BYTES, PRESENT

pytestmark = pytest.mark.skipif(not userfault.works(), reason="may not hold the faults of other processes")
LIMIT_S = 60.0
FIRST = 0x7E0000000
"""Number of the first page that is restored."""
PAGES = 1024
OWN, EARLIER = range(100, 400), range(500, 1000)
"""Pages that lie in this image, and in the one before; the others were never written."""
NUMBER = 7
RESTORED = """
import ctypes, fcntl, mmap, os, socket, struct, sys, threading
first, pages, size, place, number, api, events, call = (*map(int, sys.argv[1:4]), sys.argv[4], *map(int, sys.argv[5:9]))
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
at = first * size
assert libc.mmap(at, pages * size, 3, 0x4032, -1, 0) == at
fault = libc.syscall(call, os.O_CLOEXEC | os.O_NONBLOCK)
fcntl.ioctl(fault, api, bytearray(struct.pack("=QQQ", 0xAA, events, 0)))
fcntl.ioctl(fault, 0xC020AA00, bytearray(struct.pack("=QQQQ", at, pages * size, 1, 0)))
criu = socket.socket(socket.AF_UNIX)
criu.connect(place)
criu.sendall(struct.pack("=i", number))
socket.send_fds(criu, [b"0"], [fault])
os.close(fault)

def holds(page, moved=0):
    return int.from_bytes(ctypes.string_at(at + (page + moved) * size, 8), "little")

print("ready", flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    if word == "restored":
        criu.sendall(struct.pack("=I", 0x52535446))
        print("ok", flush=True)
    elif word == "read":
        print(*(holds(int(page)) for page in rest), flush=True)
    elif word == "threads":
        seen = [0] * pages
        def look(begin):
            for page in range(begin, pages, 8):
                seen[page] = holds(page)
        threads = [threading.Thread(target=look, args=(begin,)) for begin in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(*seen, flush=True)
    elif word == "fork":
        if not os.fork():
            print(*map(holds, range(pages)), flush=True)
            os._exit(0)
        os.wait()
    elif word == "give":
        begin, count = map(int, rest)
        assert libc.madvise(at + begin * size, count * size, 4) == 0
        print("ok", flush=True)
    elif word == "move":
        begin, count = map(int, rest)
        there = at + (begin + 2 * pages) * size
        assert libc.mremap(at + begin * size, count * size, count * size, 3, there) == there
        print(*(holds(page, 2 * pages) for page in range(begin, begin + count)), flush=True)
    elif word == "write":
        ctypes.c_uint64.from_address(at + int(rest[0]) * size).value = 5
        print("ok", flush=True)
"""


def content(page: int) -> int:
    """What the first bytes of a page say."""
    return 1000 + page if page in OWN or page in EARLIER else 0


@dataclass
class Scene:
    """A pager, and a process whose memory it has."""

    pager: subprocess.Popen[bytes]
    process: subprocess.Popen[str]
    cgroup: Path

    def say(self, line: str) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def numbers(self, line: str) -> list[int]:
        return list(map(int, self.say(line)))

    def filler(self) -> int:
        children = Path(f"/proc/{self.pager.pid}/task/{self.pager.pid}/children").read_text().split()
        return int(children[0])


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    cgroup, place = tmp_path / "cgroup", tmp_path / "s"
    cgroup.mkdir()
    with TemporaryDirectory(dir="/dev/shm") as folder, socket.socket(socket.AF_UNIX) as listener:
        _write_images(Path(folder))
        listener.bind(str(place))
        listener.listen()
        argv = [sys.executable, "-m", "segue.adapters.criu.pager", folder, str(cgroup)]
        pager = subprocess.Popen(argv, stdin=listener.fileno(), stdout=subprocess.PIPE)
        listener.close()
        words = (FIRST, PAGES, PAGE_BYTES, place, NUMBER, userfault.API_IOCTL, userfault.EVENTS, _call())
        process = subprocess.Popen(
            [sys.executable, "-c", RESTORED, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield Scene(pager, process, cgroup)
        finally:
            for one in (process, pager):
                one.kill()
                one.communicate()


def _call() -> int:
    return userfault.NUMBERS[os.uname().machine]


def _write_images(folder: Path) -> None:
    def entries(*wishes: tuple[int, int, int]) -> bytes:
        made = bytes(8)
        for first, count, flags in wishes:
            entry = pagemap.Entry(vaddr=first * PAGE_BYTES, few=0, flags=flags, many=count)
            made += images.packed(entry.SerializeToString())
        return made

    def head(pages_id: int, rest: bytes) -> bytes:
        return rest[:8] + images.packed(pagemap.Head(pages_id=pages_id).SerializeToString()) + rest[8:]

    def page(number: int) -> bytes:
        return content(number).to_bytes(8, "little") * (PAGE_BYTES // 8)

    (folder / "parent").mkdir()
    eager = (FIRST - 5, 3, PRESENT)
    own = (FIRST + OWN.start, len(OWN), PRESENT | LAZY)
    earlier = (FIRST + EARLIER.start, len(EARLIER), IN_PARENT | LAZY)
    (folder / f"pagemap-{NUMBER}.img").write_bytes(head(3, entries(eager, own, earlier)))
    (folder / "pages-3.img").write_bytes(bytes(3 * PAGE_BYTES) + b"".join(map(page, OWN)))
    (folder / "parent" / f"pagemap-{NUMBER}.img").write_bytes(head(9, entries((0, 1 << 30, PRESENT))))
    with (folder / "parent" / "pages-9.img").open("wb") as file:
        for number in EARLIER:
            file.seek((FIRST + number) * PAGE_BYTES)
            file.write(page(number))


def test_each_page_is_what_it_was_whoever_asks_for_it(scene: Scene) -> None:
    assert scene.numbers("read 999 100 0 450 399 500") == [1999, 1100, 0, 0, 1399, 1500]
    assert scene.numbers("threads") == [content(page) for page in range(PAGES)]
    assert scene.say("restored") == ["ok"]
    assert scene.pager.wait(LIMIT_S) == 0
    assert not list(scene.cgroup.iterdir())


def test_what_nobody_asks_for_is_put_in_place_once_all_is_restored(scene: Scene) -> None:
    assert scene.say("write 600") == ["ok"]
    assert scene.say("restored") == ["ok"]
    assert scene.pager.wait(LIMIT_S) == 0
    assert scene.numbers("threads") == [5 if page == 600 else content(page) for page in range(PAGES)]


def test_memory_that_is_forked_moved_and_given_back_meanwhile(scene: Scene) -> None:
    assert scene.numbers("fork") == [content(page) for page in range(PAGES)]
    assert scene.say("give 120 500") == ["ok"]
    assert scene.numbers("move 700 100") == [content(page) for page in range(700, 800)]
    assert scene.numbers("read 119 120 399 500 619 620 800") == [1119, 0, 0, 0, 0, 1620, 1800]
    assert scene.say("restored") == ["ok"]
    assert scene.pager.wait(LIMIT_S) == 0
    assert scene.numbers("read 119 250 619 999") == [1119, 0, 0, 1999]


def test_where_the_filler_is_killed_the_application_ends(scene: Scene) -> None:
    assert scene.numbers("read 100") == [1100]
    os.kill(scene.filler(), signal.SIGKILL)
    assert scene.pager.wait(LIMIT_S) == 1
    assert (scene.cgroup / "cgroup.kill").read_text() == "1"


def test_where_criu_ends_before_all_is_restored_the_application_ends(scene: Scene) -> None:
    assert scene.numbers("read 100") == [1100]
    scene.process.kill()
    assert scene.pager.wait(LIMIT_S) == 1
    assert (scene.cgroup / "cgroup.kill").read_text() == "1"


def test_where_the_guard_is_killed_the_filler_goes_on_alone_or_the_application_ends(scene: Scene) -> None:
    """It goes on where it has heard by then that all is restored."""
    assert scene.numbers("read 100") == [1100]
    filler = scene.filler()
    assert scene.say("restored") == ["ok"]
    scene.pager.kill()
    seen = scene.numbers("threads")
    _await_end(filler)
    ended = (scene.cgroup / "cgroup.kill").exists()
    assert ended or seen == [content(page) for page in range(PAGES)]


def test_where_the_guard_is_killed_before_all_is_restored_the_application_ends(scene: Scene) -> None:
    assert scene.numbers("read 100") == [1100]
    filler = scene.filler()
    scene.pager.kill()
    _await_end(filler)
    assert (scene.cgroup / "cgroup.kill").read_text() == "1"


def _await_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([handle], [], [], LIMIT_S)[0]
    os.close(handle)


def test_one_process_that_ends_with_several_faults_is_only_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' memory is still to be put in place."""

    def ended(*_: object) -> int:
        raise userfault.Ended

    faults = [(userfault.Event.FAULT, 0, page * PAGE_BYTES, 0) for page in (1, 2)]
    monkeypatch.setattr(userfault, "messages", lambda _: iter(faults))
    monkeypatch.setattr(userfault, "zero", ended)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        filler = pager.Filler(tmp_path, ours)
        filler._add(os.dup(theirs.fileno()), Holes())
        (number,) = filler._holes
        filler._answer(number)
        assert not filler._holes


def test_the_guard_ends_the_application_where_the_filler_ended_as_it_was_spoken_to(scene: Scene) -> None:
    """The last word of CRIU, after which the application runs, finds nobody: it must not run on what it lacks."""
    assert scene.numbers("read 100") == [1100]
    os.kill(scene.pager.pid, signal.SIGSTOP)
    os.kill(scene.filler(), signal.SIGKILL)
    assert scene.say("restored") == ["ok"]
    os.kill(scene.pager.pid, signal.SIGCONT)
    assert scene.pager.wait(LIMIT_S) == 1
    assert (scene.cgroup / "cgroup.kill").read_text() == "1"
