"""The hook's script, run as CRIU runs it, waits for the agent's word, whichever of them comes first."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from segue.adapters.criu import hook
from segue.adapters.criu.hook import Hook, Word

LIMIT_S = 10.0


async def _script(tmp_path: Path, action: str) -> asyncio.subprocess.Process:
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    env = {**os.environ, "CRTOOLS_SCRIPT_ACTION": action, "CRTOOLS_IMAGE_DIR": str(images)}
    return await asyncio.create_subprocess_exec(hook.install(tmp_path), env=env)


@pytest.mark.parametrize(("word", "succeeds"), [(Word.GO, True), (Word.UNDO, False)])
@pytest.mark.parametrize("action", ["post-dump", "post-restore"])
async def test_the_word_is_the_scripts_end(tmp_path: Path, action: str, word: Word, succeeds: bool) -> None:
    end = Hook(tmp_path)
    script = await _script(tmp_path, action)
    await asyncio.wait_for(end.asked(), LIMIT_S)
    assert script.returncode is None
    assert await end.tell(word)
    assert (await asyncio.wait_for(script.wait(), LIMIT_S) == 0) is succeeds
    end.close()


async def test_an_agent_that_was_restarted_finds_it_waiting(tmp_path: Path) -> None:
    first = Hook(tmp_path)
    script = await _script(tmp_path, "post-dump")
    await asyncio.wait_for(first.asked(), LIMIT_S)
    first.close()
    second = Hook(tmp_path)
    await asyncio.wait_for(second.asked(), LIMIT_S)
    assert await second.tell(Word.GO)
    assert await asyncio.wait_for(script.wait(), LIMIT_S) == 0
    assert not await second.tell(Word.GO)
    second.close()


async def test_without_an_agent_it_waits_and_does_not_decide(tmp_path: Path) -> None:
    end = Hook(tmp_path)
    end.close()
    script = await _script(tmp_path, "post-restore")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(script.wait()), 0.3)
    late = Hook(tmp_path)
    await asyncio.wait_for(late.asked(), LIMIT_S)
    assert await late.tell(Word.UNDO)
    assert await asyncio.wait_for(script.wait(), LIMIT_S) != 0
    late.close()


async def test_other_stages_do_not_wait(tmp_path: Path) -> None:
    script = await _script(tmp_path, "pre-dump")
    assert await asyncio.wait_for(script.wait(), LIMIT_S) == 0


async def test_a_word_that_comes_between_two_looks_is_heard(tmp_path: Path) -> None:
    """Each look has the script open its end anew: a word in that instant would be lost."""
    end = Hook(tmp_path)
    for _ in range(5):
        script = await _script(tmp_path, "post-dump")
        await asyncio.wait_for(end.asked(), LIMIT_S)
        end.waits()
        assert await end.tell(Word.GO)
        assert await asyncio.wait_for(script.wait(), LIMIT_S) == 0
    end.close()


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs setpriv and root")
@pytest.mark.parametrize("real", [0, 65534])
async def test_nobody_hears_a_word_once_criu_is_dead(tmp_path: Path, real: int) -> None:
    end = Hook(tmp_path)
    (tmp_path / "images").mkdir()
    env = {
        **os.environ,
        "CRTOOLS_SCRIPT_ACTION": "post-restore",
        "CRTOOLS_IMAGE_DIR": str(tmp_path / "images"),
    }
    runs = "import subprocess, sys; subprocess.run(sys.argv[1:])"  # CRIU has no shell between, either.
    user = ("setpriv", "--keep-groups", f"--ruid={real}", f"--rgid={real}")
    criu = await asyncio.create_subprocess_exec(
        *user, sys.executable, "-c", runs, hook.install(tmp_path), env=env
    )
    await asyncio.wait_for(end.asked(), LIMIT_S)
    criu.kill()
    await criu.wait()
    assert not await end.tell(Word.GO)
    end.close()
