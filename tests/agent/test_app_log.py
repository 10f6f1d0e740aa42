"""A log that is followed shows each line once, in order, whatever the warden does with its files meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from segue.adapters.oci.warden import Log
from segue.agent import app_log


def test_the_last_lines_come_from_as_many_files_as_needed(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), 300, 4)
    for number in range(20):
        log.write("stdout", str(number).encode(), whole=True)
    found = app_log.text(tmp_path / "log", 8).splitlines()
    assert [line.split()[-1] for line in found] == [str(number) for number in range(12, 20)]


def test_only_what_was_written_since_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(str(tmp_path / "log"), 300, 4)
    for second in range(1000, 1010):
        monkeypatch.setattr(time, "time_ns", lambda at=second: at * 10**9 + 500_000_000)
        log.write("stdout", str(second).encode(), whole=True)
    found = app_log.text(tmp_path / "log", 100, app_log.stamp(1006.6)).split()
    assert [word for word in found if word.isdigit()] == ["1007", "1008", "1009"]


async def _followed(folder: Path) -> list[str]:
    log, found = Log(str(folder / "log"), 500, 4), b""
    for number in range(5):
        log.write("stdout", str(number).encode(), whole=True)

    async def write() -> None:
        for number in range(5, 60):
            log.write("stdout", str(number).encode(), whole=True)
            # One file at a time may be missed: as slow as the one who looks.
            await asyncio.sleep(app_log.LOOK_S / 4)
        await asyncio.sleep(app_log.LOOK_S * 2)
        shutil.rmtree(folder / "log")

    writing = asyncio.create_task(write())
    async for part in app_log.follow(folder / "log", 3):
        found += part
    await writing
    return [line.split()[-1] for line in found.decode().splitlines()]


def test_what_comes_is_shown_once_across_rotations_until_it_is_deleted(tmp_path: Path) -> None:
    found = asyncio.run(asyncio.wait_for(_followed(tmp_path), 30))
    assert found == [str(number) for number in range(2, 60)]
