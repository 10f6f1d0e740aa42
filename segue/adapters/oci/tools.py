"""Runs the programs that handle images, and turns what they say into errors. They are Debian's: skopeo and umoci."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused

POLICY: Final = Path("/etc/containers/policy.json")
LOGGED: Final = re.compile(r'level=\w+ msg="(.*)"$')
"""How skopeo writes its last words."""
LIMIT_S: Final = 1800.0
"""A large image over a slow line."""


async def run(argv: Sequence[str], *, what: str, todo: str, within_s: float = LIMIT_S) -> str:
    """What the program wrote to its output. Raises Refused with its last words; whatever it began ends with us."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/root")},
        )
    except FileNotFoundError as error:
        raise Refused(
            what=what,
            why=f"this host has no {argv[0]}",
            todo=f"Install it: `apt-get install {argv[0]}`.",
            kind=Kind.NOT_FOUND,
        ) from error
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(error, TimeoutError):
            raise Refused(
                what=what, why=f"{argv[0]} did not end within {within_s:.0f} s", todo=todo, kind=Kind.TIMEOUT
            ) from error
        raise
    if process.returncode:
        raise Refused(
            what=what, why=f"{argv[0]} says: {_last_words(err.decode(errors='replace'))}", todo=todo
        )
    return out.decode(errors="replace")


def skopeo(*words: str) -> list[str]:
    """Signatures are checked where the host has a policy for them."""
    return ["skopeo", *([] if POLICY.exists() else ["--insecure-policy"]), *words]


def umoci(*words: str) -> list[str]:
    """See its manual page."""
    return ["umoci", *words]


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "nothing"
    found = LOGGED.search(lines[-1])
    return found[1].replace('\\"', '"') if found else lines[-1]
