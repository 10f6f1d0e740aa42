"""A journal that is older than what this boot has seen: somebody put a backup or an old image in its place.

What it says this host owns may live elsewhere by now. As after a loss of power nothing of that starts before all other
hosts were asked; where something stands that the next word would let run, the agent does not start at all.
"""

from __future__ import annotations

import structlog

from segue.adapters import system
from segue.adapters.store.journal import Journal
from segue.agent.config import Config
from segue.agent.guests import Guests
from segue.errors import Kind, Refused
from segue.model.handoff import Copy, Phase

log = structlog.get_logger()
SAID = "its host's journal was an older one: it may live elsewhere, which `segue vm start` asks"


def opened(config: Config) -> tuple[Journal, bool]:
    """This host's journal, and whether it is an older one; then nothing of it counts as having run since the boot."""
    journal = Journal(config.state_dir / "journal.db", system.boot_id())
    is_old = journal.progress.keep_in(config.run_dir / "journal-writes")
    if is_old:
        names = [guest.name for guest, _, _ in journal.guests()]
        log.error("the journal is older than what ran here: nothing starts unasked", guests=", ".join(names))
        for name in names:
            journal.cut_off(name)
    return journal, is_old


async def take_up(journal: Journal, guests: Guests, is_old: bool) -> None:
    """Every guest as it stands. Raises Refused where the journal is an older one and a guest is torn by that."""
    await guests.take_up()
    if is_old:
        _accept(journal, guests)


def _accept(journal: Journal, guests: Guests) -> None:
    """What runs here runs by right, and goes on. Raises Refused where a guest stands in the middle of a move."""
    still = {Phase.OWNER, Phase.ABSENT}
    torn = [
        k for k in guests.every() if k.token.phase not in still or k.copy() in {Copy.COMPLETE, Copy.PARTIAL}
    ]
    if torn:
        names = sorted(keeper.guest.name if keeper.guest else keeper.uuid for keeper in torn)
        raise Refused(
            what="the agent does not start",
            why=f"its journal is older than what ran here, and says that these are in the middle of a move: "
            f"{', '.join(names)}",
            todo="Put the newest journal back; or restart the host: then all others are asked before anything starts.",
            kind=Kind.CONFLICT,
        )
    for keeper in guests.every():
        if keeper.guest is None:
            continue
        if keeper.copy() is Copy.RUNNING:
            journal.ran(keeper.guest.name)
        elif keeper.token.phase is Phase.OWNER:
            keeper.note(SAID)
    journal.progress.accept()
