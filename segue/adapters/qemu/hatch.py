"""A second way to speak to QEMU, for when the first is of no use; it cannot be heard on it.

QEMU takes a new monitor connection only when its main loop turns. In a post-copy that loop may stand still until a
page comes, and with the path broken it comes only after QEMU was told to listen again. An agent that was restarted
just then would have no monitor to say that on. A pipe has no connections: what was agreed on it when QEMU was
started holds for as long as QEMU lives.
"""

from __future__ import annotations

import json
import os

from segue.adapters.qemu.command import Places


def make(places: Places, uid: int, gid: int) -> None:
    """Before QEMU is started: it wants a file for each direction."""
    os.mkfifo(places.hatch_in, 0o600)
    os.chown(places.hatch_in, uid, gid)
    places.hatch_out.symlink_to(os.devnull)


def agree(places: Places) -> None:
    """After QEMU was started, once."""
    _write(places, {"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})


def say(places: Places, command: str, **arguments: str) -> None:
    """A command out of band. Whether QEMU did it shows elsewhere. OSError where no QEMU listens."""
    _write(places, {"exec-oob": command, "arguments": arguments})


def _write(places: Places, words: object) -> None:
    pipe = os.open(places.hatch_in, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(pipe, json.dumps(words).encode() + b"\n")
    finally:
        os.close(pipe)
