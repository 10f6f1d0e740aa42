"""One half of a move, run inside a lab's host with the real adapter: told by lines, answers by lines."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from segue.adapters.criu import hook
from segue.adapters.criu.departure import Departure
from segue.adapters.criu.landing import Landing
from segue.adapters.criu.program import Container, Room
from segue.adapters.inlet import Inlet
from segue.errors import Refused, SegueError

MEMORY_BYTES = 1 << 30
ROOM = Room(Path("/run/segue/moves/app1"))


def say(*words: object) -> None:
    print(*words, flush=True)


async def line() -> list[str]:
    said = await asyncio.to_thread(sys.stdin.readline)
    return str(said).split()


async def nothing() -> None:
    """The test's application has nothing that waits for it."""


def outlet() -> int:
    """A pipe into a file, kept by somebody who outlives this program."""
    reader, writer = os.pipe()
    with Path("/run/output").open("ab") as output:
        subprocess.Popen(["cat"], stdin=reader, stdout=output, start_new_session=True)
    os.close(reader)
    return writer


async def launch(argv: Sequence[str]) -> None:
    writer = outlet()
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, start_new_session=True
    )
    os.close(writer)
    if code := await asyncio.to_thread(process.wait):
        raise Refused(what="no container", why=f"crun ended with {code}", todo="Read /run/output.")


def crun(container: Container, *words: str) -> tuple[str, ...]:
    return ("crun", "--root", str(container.crun_root), "--cgroup-manager", "cgroupfs", *words)


async def run(container: Container) -> None:
    await launch(crun(container, "run", "--detach", "--bundle", str(container.bundle), container.name))


async def remove(container: Container) -> None:
    """What is left of a container that never ran."""
    while "populated 1" in (container.cgroup / "cgroup.events").read_text():
        await asyncio.sleep(0.01)
    subprocess.run(
        crun(container, "delete", "--force", container.name), check=False, stderr=subprocess.DEVNULL
    )
    shutil.rmtree(container.bundle / "criu-root", ignore_errors=True)


async def leave(container: Container, script: Path) -> None:
    departure = Departure(container, ROOM, script)
    departure.take_up()
    while words := await line():
        try:
            match words:
                case ["run"]:
                    await run(container)
                case ["begin", address, secret]:
                    await departure.begin(address, secret, MEMORY_BYTES)
                case ["freeze"]:
                    await departure.freeze()
                case ["dump"]:
                    await departure.dump()
                case ["restored"]:
                    await departure.restored(30.0)
                case ["go"]:
                    await departure.go()
                case ["undo"]:
                    await departure.undo()
            say("ok", *(f"{what}={at_s:.6f}" for what, at_s in departure.marks))
        except (SegueError, TimeoutError, OSError) as error:
            say("failed", error)


async def arrive(container: Container, script: Path) -> None:
    landing = Landing(container, ROOM, script, launch)
    landing.take_up()
    while words := await line():
        try:
            match words:
                case ["open", host, secret]:
                    say("at", await landing.open(Inlet(host), secret, MEMORY_BYTES))
                    continue
                case ["complete"]:
                    say("ok" if await landing.complete(30.0) else f"failed {landing.failure}")
                    continue
                case ["go"]:
                    say(
                        f"ran={await landing.go(nothing):.6f}",
                        *(f"{what}={at_s:.6f}" for what, at_s in landing.marks),
                    )
                    continue
                case ["drop"]:
                    await landing.drop()
                    await remove(container)
            say("ok")
        except (SegueError, TimeoutError, OSError) as error:
            say("failed", error)


def main() -> None:
    role, name, bundle = sys.argv[1:]
    container = Container(
        name, Path(bundle), Path("/run/segue/crun"), Path("/sys/fs/cgroup/segue-apps") / name
    )
    script = hook.install(Path("/var/lib/segue"))
    asyncio.run((leave if role == "leave" else arrive)(container, script))


main()
