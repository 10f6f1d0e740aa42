"""One more program in a running application's container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess

from segue.adapters.oci import bundle, container
from segue.agent import apps
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.wire.apps import Exec, Executed

OUTPUT_BYTES_MAX = 1 << 20


async def run(services: Services, keeper: Keeper, wish: Exec) -> Executed:
    """Runs it to its end, as the application's user unless another is named. Raises Refused."""
    guest = keeper.guest_here()
    process = await asyncio.create_subprocess_exec(
        *command(services, keeper, wish),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(wish.within_s):
            out, err = await process.communicate(wish.input.encode())
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(error, TimeoutError):
            raise _too_long(guest.name, wish) from error
        raise
    return Executed(process.returncode or 0, _end_of(out), _end_of(err))


def command(services: Services, keeper: Keeper, wish: Exec, *, tty: bool = False) -> list[str]:
    """What runs it. tty: with a terminal, that of whoever starts it. Raises Refused."""
    guest = keeper.guest_here()
    if not guest.is_app or keeper.body is None or not keeper.body.running:
        raise _refused(
            guest.name, "it does not run here" if guest.is_app else "it is a machine, not an application"
        )
    if not wish.args:
        raise _refused(guest.name, "no program was named")
    words = ["--tty"] if tty else []
    if wish.env:  # Then the runtime gives it none of the application's own.
        assert guest.app is not None
        every = apps.merged((bundle.PATH, *guest.app.env), wish.env)
        words += [word for one in every for word in ("--env", one)]
    words += ["--user", wish.user] if wish.user else []
    words += ["--cwd", wish.cwd] if wish.cwd else []
    places = services.apps.places(guest)
    own = ["--root", str(places.crun), "--cgroup-manager", "cgroupfs"]
    return [container.CRUN, *own, "exec", "--no-new-privs", *words, guest.name, *wish.args]


def _end_of(output: bytes) -> str:
    return output[-OUTPUT_BYTES_MAX:].decode(errors="replace")


def _refused(name: str, why: str) -> Refused:
    return Refused(
        what=f"nothing is executed in {name}",
        why=why,
        todo=f"Look with `segue app show {name}`.",
        kind=Kind.CONFLICT,
    )


def _too_long(name: str, wish: Exec) -> Refused:
    return Refused(
        what=f"{wish.args[0]} in {name} was ended",
        why=f"it did not end within {wish.within_s:g} s",
        todo="Give it more time with --timeout.",
        kind=Kind.TIMEOUT,
    )
