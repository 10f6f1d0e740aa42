"""Firmware that is pushed, by the real client to a real HTTP server: what arrives there, and what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.adapters.fence import bmc, push
from segue.adapters.fence.firmware import Firmware
from segue.errors import Kind, Refused
from segue.model.firmware import FlashState, Image
from tests.adapters.emulated import Machine

CONTENT = b"BIOS 2.0.0\n" + bytes(range(256)) * 9000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("bmc"))
    yield made
    made.end()


@pytest.fixture
def machine(shared: Machine) -> Machine:
    """As new; the process stays."""
    (shared.folder / "host1.hardware.json").unlink()
    shared.hardware = type(shared.hardware)(shared.folder / "host1.hardware.json")
    return shared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bios.bin").write_bytes(CONTENT)
    return tmp_path


def image(folder: Path) -> Image:
    return push.look(folder, "bios.bin")


@pytest.mark.parametrize(
    ("ways", "way"), [(["plain", "multipart", "simple"], "multipart"), (["plain"], "plain")]
)
async def test_what_arrives_is_the_file_and_its_task_is_followed(
    machine: Machine, folder: Path, ways: list[str], way: str
) -> None:
    machine.has(ways=ways, update_s=0.0)
    hands = machine.firmware()
    task = await hands.begin("", "", image(folder))
    assert (await hands.look(task)).state is FlashState.DONE
    assert await hands.version("") == "2.0.0"
    known = machine.hardware.read()
    assert known["pushed"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (known["pushed"]["way"], known["pushes"], known["reserved"]) == (way, 1, False)
    assert known["pushed"]["targets"][0].startswith("/redfish/v1/Systems/")
    assert (machine.folder / "host1.hardware.pushed").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("parts", "url", "why"),
    [
        ({"ways": ["simple"]}, "", "lets no image be pushed"),
        ({"ways": []}, "http://f/x", "no image be pushed .*, and fetches no image by itself"),
        ({"most_bytes": 5}, "", "takes images of 5 bytes at most"),
        ({"ways": ["plain"], "reserved": True}, "", "somebody has reserved it"),
    ],
)
async def test_a_bmc_that_cannot_is_found_before(
    machine: Machine, folder: Path, parts: dict[str, object], url: str, why: str
) -> None:
    machine.has(**parts)
    with pytest.raises(Refused, match=why):
        await machine.firmware().takes(url, image(folder))
    with pytest.raises(Refused, match=why):
        await machine.firmware().begin(url, "", image(folder))
    assert machine.hardware.read()["pushes"] == 0


async def test_one_without_push_fetches_it_where_a_url_is_named_too(machine: Machine, folder: Path) -> None:
    machine.has(ways=["simple"])
    assert await machine.firmware().takes("http://f/x", image(folder)) == "SimpleUpdate"
    machine.has(ways=["multipart"])
    with pytest.raises(Refused, match="fetches no image by itself") as refused:
        await machine.firmware().takes("http://f/x", None)
    assert refused.value.kind is Kind.POLICY


@pytest.mark.parametrize("ways", [["multipart"], ["plain"]])
@pytest.mark.parametrize(
    ("status", "kind", "why"),
    [
        (413, Kind.UNREACHABLE, "too large"),
        (401, Kind.AUTH, "credentials"),
        (503, Kind.UNREACHABLE, "too large"),
    ],
)
async def test_one_that_does_not_take_it_has_nothing_new(
    machine: Machine, folder: Path, ways: list[str], status: int, kind: Kind, why: str
) -> None:
    machine.has(ways=ways, refuses=status, says="that is too large")
    with pytest.raises(Refused, match=why) as refused:
        await machine.firmware().begin("", "", image(folder))
    assert (refused.value.kind, refused.value.what) == (kind, "the firmware of host1 is left as it is")
    known = machine.hardware.read()
    assert (known["pushes"], known["updates"], known["reserved"]) == (1, 0, False)


@pytest.mark.parametrize("ways", [["multipart"], ["plain"]])
async def test_one_that_is_gone_in_the_middle_has_not_begun(
    machine: Machine, folder: Path, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bmc, "STALL_S", 0.5)
    with (folder / "bios.bin").open("ab") as file:
        file.truncate(24 << 20)  # more than the lines between hold
    machine.has(ways=ways, cut_after_bytes=1 << 20)
    with pytest.raises(Refused, match=r"cut off after \d+ of \d+ bytes") as refused:
        await machine.firmware().begin("", "", image(folder))
    assert refused.value.what == "the firmware of host1 is left as it is"
    known = machine.hardware.read()
    assert (known["pushes"], known["updates"], known["reserved"]) == (1, 0, False)


@pytest.mark.parametrize("silence", [{"mute": True}, {"answer_s": 3.0}])
async def test_one_that_has_all_of_it_and_says_nothing_is_in_doubt_and_is_asked_once(
    machine: Machine, folder: Path, silence: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bmc, "PUSHED_S", 0.3)
    machine.has(ways=["multipart"], **silence)
    with pytest.raises(Refused) as refused:
        await machine.firmware().begin("", "", image(folder))
    assert refused.value.what == "whether the firmware of host1 is being changed is not known"
    assert "it got all of the image" in refused.value.why
    assert (machine.hardware.read()["pushes"], machine.hardware.read()["updates"]) == (1, 1)


async def test_an_order_to_fetch_that_gets_no_answer_is_not_given_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bmc, "READ_S", 0.5)
    machine.has(answer_s=1.0)
    with pytest.raises(Refused, match="whether the firmware of host1 is being changed is not known"):
        await machine.firmware().begin("http://files.example/bios.bin", "")
    assert machine.hardware.read()["updates"] == 1


async def test_another_file_than_the_planned_one_never_arrives_whole(machine: Machine, folder: Path) -> None:
    planned = image(folder)
    (folder / "bios.bin").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(Refused, match="changed meanwhile"):
        await machine.firmware().begin("", "", planned)
    (folder / "bios.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(Refused, match="changed meanwhile"):
        await machine.firmware().begin("", "", planned)
    (folder / "bios.bin").unlink()
    with pytest.raises(Refused, match="No such file"):
        await machine.firmware().begin("", "", planned)
    assert machine.hardware.read()["updates"] == 0


async def test_a_step_that_is_ended_sends_nothing_more(machine: Machine, folder: Path) -> None:
    with (folder / "bios.bin").open("ab") as file:
        file.truncate(96 << 20)
    begun = asyncio.create_task(Firmware("host1", machine.bmc()).begin("", "", image(folder)))
    async with asyncio.timeout(20):
        while not machine.hardware.read()["pushes"]:
            assert not begun.done()
            await asyncio.sleep(0.001)
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    await asyncio.get_running_loop().shutdown_default_executor()
    assert machine.hardware.read()["updates"] == 0


async def test_one_that_is_ended_before_it_connects_sends_nothing(machine: Machine, folder: Path) -> None:
    ended = threading.Event()
    ended.set()
    with push.Body(image(folder), None, ended) as body, pytest.raises(Refused, match="ended, after 0 of"):
        body.read(1000)
    assert not body.whole


def test_only_files_of_the_folder_are_looked_at(folder: Path) -> None:
    seen = push.look(folder, str(folder / "bios.bin"))
    assert seen == Image(str(folder / "bios.bin"), len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    (folder / "empty").touch()
    (folder / "sub").mkdir()
    wrong = {
        "/etc/passwd": "lie in",
        "../x": "lie in",
        ".": "lie in",
        "empty": "empty",
        "sub": "no file",
        "gone": "No such file",
    }
    for name, why in wrong.items():
        with pytest.raises(Refused, match=why):
            push.look(folder, name)
