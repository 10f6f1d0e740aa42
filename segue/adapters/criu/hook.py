"""Stops CRIU where it can still be taken back, and passes on which way it goes. It never finds that word itself.

CRIU runs the script when all is dumped (the source still stands and is whole) and when all is restored (the target
does not run yet), and waits for it. A script that fails makes CRIU undo what it did. Two FIFOs lie between script and
agent: who waits at them outlives an agent that is restarted, and never CRIU: a word that a script heard whose CRIU has
ended would count as carried out. CRIU may run under another real user than root (-p: the shell would become that one).
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
HEARD: Final = "heard"
SCRIPT: Final = f"""#!/bin/sh -p
way="$CRTOOLS_IMAGE_DIR/.."
case "$CRTOOLS_SCRIPT_ACTION" in
post-dump | post-restore) ;;
*) exit 0 ;;
esac
# Whoever hears the word must be there to act on it: this script ends with CRIU. The kernel forgets that where a program
# is started with another real user than the one it has its rights from.
if test -z "$SEGUE_HELD" && command -v setpriv >/dev/null; then
    SEGUE_HELD=1 exec setpriv --ruid=0 --rgid=0 --keep-groups --pdeathsig KILL "$0"
fi
echo "$CRTOOLS_SCRIPT_ACTION" >"$way/{ASKED}"
word=
until read -r word <"$way/{ANSWER}"; do :; done
echo "{HEARD}" 1<>"$way/{ASKED}"
test "$word" = go
"""
LOOK_S: Final = 0.002
"""Between the script's word and its wait lies one line of shell."""
REACH_S: Final = 1.0
"""For somebody to wait at all."""
HEAR_S: Final = 5.0
"""For a script that waits to be given the processor, on a busy host."""
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
                    async with asyncio.timeout(AGAIN_S):
                        await event.wait()
            with contextlib.suppress(BlockingIOError):
                os.read(self._asked, 4096)
        finally:
            loop.remove_reader(self._asked)

    async def tell(self, word: Word) -> bool:
        """Lets CRIU go on or undo; False where nobody waits for it (any more), or nobody says that it was heard.

        It is said again until it is: the script opens its FIFO anew after each look at it, and a word between two
        openings is lost.
        """
        loop = asyncio.get_running_loop()
        reach_s, until_s = loop.time() + REACH_S, loop.time() + HEAR_S
        while loop.time() < until_s:
            if self._say(word):
                reach_s = until_s
                if await self._is_heard():
                    return True
            elif loop.time() > reach_s:
                return False
            await asyncio.sleep(LOOK_S)
        return False

    def _say(self, word: Word) -> bool:
        fd = self._reach()
        if fd is None:
            return False
        try:
            os.write(fd, f"{word}\n".encode())
        except BrokenPipeError:
            return False
        finally:
            os.close(fd)
        return True

    async def _is_heard(self) -> bool:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._asked, event.set)
        try:
            async with asyncio.timeout(AGAIN_S):
                while True:
                    await event.wait()
                    event.clear()
                    with contextlib.suppress(BlockingIOError):
                        if HEARD.encode() in os.read(self._asked, 4096):
                            return True
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._asked)

    def close(self) -> None:
        """Gives the FIFO back; CRIU goes on waiting."""
        # Else the loop would take the next file of this number for one that it watches already, and never look at it.
        asyncio.get_running_loop().remove_reader(self._asked)
        os.close(self._asked)

    def _reach(self) -> int | None:
        try:
            return os.open(self._answer, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENXIO, errno.ENOENT}:
                return None
            raise
