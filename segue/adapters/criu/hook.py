"""Stops CRIU where it can still be taken back, and passes on which way it goes. It never finds that word itself.

CRIU runs the script when all is dumped (the source still stands and is whole) and when all is restored (the target
does not run yet), and waits for it. A script that fails makes CRIU undo what it did. Two FIFOs lie between script and
agent: who waits at them outlives an agent that is restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from enum import StrEnum
from pathlib import Path
from typing import Final

NAME: Final = "criu-hook"
ASKED, ANSWER = "asked", "answer"
SCRIPT: Final = f"""#!/bin/sh
way="$CRTOOLS_IMAGE_DIR/.."
case "$CRTOOLS_SCRIPT_ACTION" in
post-dump | post-restore) ;;
*) exit 0 ;;
esac
echo "$CRTOOLS_SCRIPT_ACTION" >"$way/{ASKED}"
word=
until read -r word <"$way/{ANSWER}"; do :; done
test "$word" = go
"""
LOOK_S: Final = 0.002
"""Between the script's word and its wait lies one line of shell."""
REACH_S: Final = 1.0
AGAIN_S: Final = 0.05


class Word(StrEnum):
    """What CRIU is told."""

    GO = "go"
    UNDO = "undo"


def install(folder: Path) -> Path:
    """The script, in a folder from which programs may be started (often not true of /run)."""
    script = folder / NAME
    if not script.exists() or script.read_text() != SCRIPT:
        half = folder / f".{NAME}.half"
        half.write_text(SCRIPT)
        half.chmod(0o700)
        half.replace(script)
    return script


class Hook:
    """The agent's end of the two FIFOs in `folder`, which is the one above CRIU's images."""

    def __init__(self, folder: Path) -> None:
        self._answer = folder / ANSWER
        asked = folder / ASKED
        for path in (asked, self._answer):
            if not path.exists():
                os.mkfifo(path, 0o600)
        # Open for both, so that it never ends; whoever wrote before us waited for this.
        self._asked = os.open(asked, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def waits(self) -> bool:
        """True while CRIU waits for its word."""
        fd = self._reach()
        if fd is None:
            return False
        os.close(fd)
        return True

    async def asked(self) -> None:
        """Returns once CRIU has come to its point, perhaps before an agent that was restarted."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._asked, event.set)
        try:
            # An agent before us may have heard the word and gone, just before CRIU began to wait.
            while not self.waits() and not event.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), AGAIN_S)
            with contextlib.suppress(BlockingIOError):
                os.read(self._asked, 4096)
        finally:
            loop.remove_reader(self._asked)

    async def tell(self, word: Word) -> bool:
        """Lets CRIU go on or undo; False where nobody waits for it (any more)."""
        deadline = asyncio.get_running_loop().time() + REACH_S
        while (fd := self._reach()) is None:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(LOOK_S)
        try:
            os.write(fd, f"{word}\n".encode())
        finally:
            os.close(fd)
        return True

    def close(self) -> None:
        """Gives the FIFO back; CRIU goes on waiting."""
        os.close(self._asked)

    def _reach(self) -> int | None:
        try:
            return os.open(self._answer, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENXIO, errno.ENOENT}:
                return None
            raise
