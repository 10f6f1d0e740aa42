"""A folder that is still being filled arrives whole, and only from whoever knows the key: with real processes."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from segue.adapters.criu import images, keys, memory, pagemap
from segue.adapters.criu.pages import PAGE_BYTES
from segue.adapters.criu.porter import Porter
from segue.errors import Aborted
from segue.model.integrity import PROCESS_SHIFT
from tests.adapters.criu.standing import Standing

LIMIT_S = 30.0
NOTHING: Mapping[str, object] = {}


async def _ends(
    here: Path,
    there: Path,
    secret: str,
    other: str,
    in_more: Mapping[str, object] = NOTHING,
    out_more: Mapping[str, object] = NOTHING,
) -> tuple[Porter, Porter]:
    group = here.parent / "nobody"
    group.mkdir(exist_ok=True)
    (group / "cgroup.procs").touch()
    before = {"cgroup": str(group), "pages": 1 << 20}
    taking = await Porter.start(
        "ship_in",
        {
            "inlet": {"address": "127.0.0.1"},
            "channels": 2,
            "folder": str(there),
            "identity": _identity(secret),
            **in_more,
        },
    )
    port = int(await taking.hear("listening", LIMIT_S))
    giving = await Porter.start(
        "ship_out",
        {
            "host": "127.0.0.1",
            "channels": 2,
            "port": port,
            "folder": str(here),
            "identity": _identity(other),
            **before,
            **out_more,
        },
    )
    return giving, taking


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """Where a file may be as long as an address space, as in a move's room."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def _identity(secret: str) -> str:
    return keys.pem(secret).decode() if secret else ""


def _folders(tmp_path: Path) -> tuple[Path, Path]:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    return here, there


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_folder_that_grows_arrives_whole(tmp_path: Path, encrypted: bool) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32) if encrypted else ""
    # Where memory goes before, images of memory are none.
    large = "ghost-1.img" if encrypted else "pages-1.img"
    giving, taking = await _ends(here, there, secret, secret)
    written = b""
    try:
        await giving.hear("connected", LIMIT_S)
        giving.tell("begin")
        await giving.hear("ready", LIMIT_S)
        chance = random.Random(7)
        with (here / large).open("wb", buffering=0) as pages:
            for _ in range(40):
                written += (part := chance.randbytes(50 * PAGE_BYTES))
                pages.write(part)
                await asyncio.sleep(0.001)
        (here / "empty.img").touch()
        (here / "inventory.img").write_bytes(b"old")
        (here / "inventory.img").write_bytes(b"written anew")
        giving.tell("complete")
        await taking.hear("arrived", LIMIT_S)
        taking.tell("restored")
        await giving.hear("restored", LIMIT_S)
    finally:
        await giving.end()
        await taking.end()
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        large: written,
        "empty.img": b"",
        "inventory.img": b"written anew",
    }
    if not encrypted:
        left = (here / large).stat()
        assert (left.st_size, left.st_blocks) == (len(written), 0), "its memory is given back"


@pytest.mark.skipif(os.geteuid() != 0, reason="reads another process's memory")
@pytest.mark.parametrize("encrypted", [True, False])
async def test_what_went_before_is_not_sent_again(tmp_path: Path, in_memory: Path, encrypted: bool) -> None:
    here, there = _folders(in_memory)
    secret = secrets.token_hex(32) if encrypted else ""
    process = Standing(tmp_path)
    first = process.own // PAGE_BYTES * PAGE_BYTES + PAGE_BYTES
    with memory.opened(process.pid) as handle:
        held = os.pread(handle, 200 * PAGE_BYTES, first)
    giving, taking = await _ends(here, there, secret, secret, out_more={"cgroup": str(process.group)})
    try:
        giving.tell("files")
        assert (await giving.hear("round1", LIMIT_S)).startswith("0 ")
        for number in (2, 3):
            giving.tell("round")
            sent = int((await giving.hear(f"round{number}", LIMIT_S)).split()[0])
            assert (sent >= 255 * PAGE_BYTES) is (encrypted and number == 2)
        process.change(first)
        giving.tell("begin")
        await giving.hear("ready", LIMIT_S)
        assert (here / "pages-1.img").is_symlink() is encrypted
        if encrypted:
            (here / "pages-1.img").write_bytes(bytes(100 * PAGE_BYTES))  # As CRIU does it: it leads nowhere.
            inner = process.key >> PROCESS_SHIFT
        else:
            (here / "pages-1.img").write_bytes(held[: 100 * PAGE_BYTES])
            inner = 7
        pagemap_file = f"pagemap-{inner}.img"
        (here / pagemap_file).write_bytes(_pagemap((first, 100)))
        giving.tell("complete")
        await taking.hear("arrived", LIMIT_S)
        carried = int(await giving.hear("sent", LIMIT_S))
        assert encrypted or carried > 100 * PAGE_BYTES
    finally:
        await giving.end()
        await taking.end()
        process.end()
    if encrypted:
        assert (there / "pages-1.img").read_bytes() == b""
        at_all = pagemap.parsed((there / pagemap_file).read_bytes(), "")
        assert [(entry.flags, entry.many) for entry in at_all.entries] == [(1, 100)]
        above = pagemap.parsed((there / "parent" / pagemap_file).read_bytes(), "")
        with (there / "parent" / f"pages-{above.pages_id}.img").open("rb") as pages:
            there_now = os.pread(pages.fileno(), 100 * PAGE_BYTES, first)
        assert there_now[1:] == held[1 : 100 * PAGE_BYTES]
        assert there_now[0] == held[0] ^ 1
    else:
        assert (there / "pages-1.img").read_bytes() == held[: 100 * PAGE_BYTES]
        assert (there / pagemap_file).read_bytes() == (here / pagemap_file).read_bytes()


def _pagemap(*places: tuple[int, int]) -> bytes:
    made = bytes(8) + images.packed(pagemap.Head(pages_id=1).SerializeToString())
    for address, pages in places:
        made += images.packed(pagemap.Entry(vaddr=address, few=0, flags=4, many=pages).SerializeToString())
    return made


async def test_a_stranger_is_sent_away_and_the_real_one_still_gets_in(tmp_path: Path) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32)
    stranger, taking = await _ends(here, there, secret, secrets.token_hex(32))
    try:
        with pytest.raises(Aborted, match="cannot connect"):
            await stranger.hear("connected", LIMIT_S)
        await taking.hear("refused", LIMIT_S)
    finally:
        await stranger.end()
        await taking.end()
    assert not list(there.iterdir())


async def test_a_broken_connection_is_an_abort_on_both_sides(tmp_path: Path) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32)
    giving, taking = await _ends(here, there, secret, secret)
    try:
        await giving.hear("connected", LIMIT_S)
        await giving.end()
        with pytest.raises(Aborted, match=r"closed the connection|reset"):
            await taking.hear("arrived", LIMIT_S)
    finally:
        await giving.end()
        await taking.end()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_an_image_that_cannot_be_read_is_heard_of_at_once(tmp_path: Path, encrypted: bool) -> None:
    here, there = _folders(tmp_path)
    secret = secrets.token_hex(32) if encrypted else ""
    giving, taking = await _ends(here, there, secret, secret)
    try:
        giving.tell("begin")
        (here / "ghost-1.img").mkdir()
        giving.tell("complete")
        with pytest.raises(Aborted, match="Is a directory"):
            await giving.hear("restored", LIMIT_S)
        with pytest.raises(Aborted, match=r"closed the connection|reset"):
            await taking.hear("arrived", LIMIT_S)
    finally:
        await giving.end()
        await taking.end()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_the_source_hears_why_the_target_takes_nothing_more(tmp_path: Path, encrypted: bool) -> None:
    here, there = _folders(tmp_path)
    (here / "upper").mkdir()
    (here / "upper" / "large").write_bytes(b"x" * (64 << 20))
    secret = secrets.token_hex(32) if encrypted else ""
    more = {"tree": str(tmp_path / "gone")}
    giving, taking = await _ends(here, there, secret, secret, more, {"tree": str(here), "parts": ["upper"]})
    try:
        giving.tell("round")
        with pytest.raises(Aborted) as raised:
            await giving.hear("round1", LIMIT_S)
        assert "No such file" in raised.value.why
    finally:
        await giving.end()
        await taking.end()


def test_both_hosts_make_the_same_identity_of_a_secret_and_of_no_other() -> None:
    first, second = secrets.token_hex(32), secrets.token_hex(32)
    assert keys.pem(first) == keys.pem(first)
    assert keys.pem(first) != keys.pem(second)
