"""Which hosts run guests by a lease, by whose word, and how that word is taken back from a host that is lost.

It must never call a lease over before a majority of every set of voters that its host may go by has refused it for the
whole time of `policy/lease.wait_s`, counted by this leader's own clock; and never count on a host that has not said
that it goes by a charter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import fleet, losses
from segue.controller.app import Controller
from segue.errors import SegueError
from segue.model.fencing import Death, Proof, ProofKind
from segue.model.guest import Guest
from segue.model.leadership import Tenure
from segue.model.lease import Charter, LeaseFacts
from segue.model.roster import HostReport
from segue.policy import lease, takeover

log = structlog.get_logger()
LOOK_S: Final = 1.0
ASK_S: Final = 5.0
DENY_S: Final = 3.0
WAIT_LOOK_S: Final = 0.5


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts: charters follow the fleet, and denials end with the loss that they are for."""
    while True:
        hosts = _hosts(controller)
        for report in list(controller.mirror.reports.values()):
            if report.name in controller.links.linked():
                try:
                    await _allow_again(controller, report)
                    await _charter(controller, tenure, report, hosts)
                except SegueError as error:
                    log.info("a host's lease is looked at again", host=report.name, why=str(error))
        await asyncio.sleep(LOOK_S)


async def _charter(controller: Controller, tenure: Tenure, report: HostReport, hosts: frozenset[str]) -> None:
    """Written before the host is told; taken out of the store before it is told to drop it."""
    facts, host, table = report.facts.lease, report.name, controller.mirror.charters
    if facts is None or (table.get(host) is None and not (facts.wanted or facts.number)):
        return
    kept, voters, books = table.get(host), lease.chosen(host, hosts), controller.books
    if not facts.wanted or len(voters) < lease.VOTERS_LEAST or host not in hosts:
        if kept is not None:
            await books.remove(table, host, fence=tenure.fence)
        if facts.number:
            await _call(controller, host, "DELETE", "/v1/lease")
        return
    known = kept.value if kept else None
    wanted = lease.adapted(known, host, voters, facts.terms)
    if known is None:
        await books.add(table, host, wanted, fence=tenure.fence)
    elif wanted != known:
        await books.change(table, host, lambda _: wanted, fence=tenure.fence)
    settled = lease.counts(wanted, tenure.epoch) and not wanted.before and facts.number == wanted.number
    settled = settled and facts.apps == wanted.apps
    if facts.ready and not settled:
        await _tell(controller, tenure, wanted, facts)


async def _tell(controller: Controller, tenure: Tenure, charter: Charter, facts: LeaseFacts) -> None:
    """A host may know a number of a store that was lost, with other voters: whoever does not know better outbids it."""
    host, table, books = charter.host, controller.mirror.charters, controller.books
    if not lease.counts(charter, tenure.epoch):
        number = max(charter.number, facts.number) + 1
        charter = await books.change(
            table, host, lambda known: replace(known, number=number), fence=tenure.fence
        )
    number = charter.number
    body = {"number": number, "voters": charter.voters, "terms": msgspec.to_builtins(charter.terms)}
    answer = await _call(controller, host, "PUT", "/v1/lease", body)
    told, apps = tenure.epoch, isinstance(answer, dict) and bool(answer.get("apps"))
    made = await books.change(
        table, host, lambda known: lease.acknowledged(known, number, told, apps=apps), fence=tenure.fence
    )
    if made != charter:
        log.info("a host's guests run by a lease", host=host, number=number)


def _hosts(controller: Controller) -> frozenset[str]:
    """Every host of the fleet, connected or not."""
    mirror = controller.mirror
    return frozenset(name for name in mirror.reports.items() if not fleet.is_revoked(mirror, name))


async def _allow_again(controller: Controller, report: HostReport) -> None:
    """Denials of which the loss is over, that this host had not heard the end of."""
    for host, incident in report.facts.denials.items():
        kept = controller.mirror.deaths.get(host)
        if kept is None or kept.value.incident != incident:
            await _call(controller, report.name, "DELETE", f"/v1/denials/{host}?incident={incident}")


async def allow(controller: Controller, death: Death) -> None:
    """Its host is back, and the record of its loss is gone. Who does not hear it now hears it later."""
    if controller.mirror.charters.get(death.host) is None:
        return
    path = f"/v1/denials/{death.host}?incident={death.incident}"

    async def tell(host: str) -> None:
        try:
            await _call(controller, host, "DELETE", path)
        except SegueError as error:
            log.info("a host is told later that another gets its lease again", host=host, why=str(error))

    await asyncio.gather(*(tell(host) for host in controller.links.linked() - {death.host}))


def is_held(controller: Controller, tenure: Tenure, host: str) -> bool:
    """Its guests are under a guard: a lease that is over would be a proof."""
    kept = controller.mirror.charters.get(host)
    return kept is not None and lease.counts(kept.value, tenure.epoch)


def has_ended(controller: Controller, guest: Guest, host: str) -> bool:
    """Whether a lease of that host that is over is a proof for this guest, too."""
    kept = controller.mirror.charters.get(host)
    return takeover.is_covered(guest) and (not guest.is_app or (kept is not None and kept.value.apps))


async def demand_denied(controller: Controller, death: Death, *, everybody: bool = False) -> Charter:
    """A majority of all its voters refuses it now. Raises Refused.

    everybody: every other host of the fleet, so that none takes a word of it any more: its agent may live, and may not
    know yet that its lease is over.
    """
    charter = controller.books.known(controller.mirror.charters, death.host).value
    fleet_ = _hosts(controller) if everybody else frozenset[str]()
    others = sorted({*fleet_, *(name for voters, _ in charter.every for name in voters)} - {death.host})
    path = f"/v1/denials/{death.host}?incident={death.incident}"

    async def refuses(host: str) -> bool:
        try:
            await _call(controller, host, "PUT", path, within_s=DENY_S)
        except SegueError as error:
            log.info("a host does not refuse another its lease", host=host, of=death.host, why=str(error))
            return False
        return True

    answers = await asyncio.gather(*(refuses(host) for host in others))
    refusing = [host for host, said in zip(others, answers, strict=True) if said]
    if silent := sorted((fleet_ - {death.host}).difference(refusing)):
        why = (
            f"{', '.join(silent)} cannot be told so, and may take a guest from it; bring it back, or revoke it; or, "
            f"once {death.host} and it are off, say so of both: `segue host confirm-dead`"
        )
        raise losses.refused(f"the lease of {death.host} is not refused by all", why)
    # Read anew: a charter that was changed meanwhile has voters who were not asked.
    charter = controller.books.known(controller.mirror.charters, death.host).value
    if not lease.are_refused(charter, refusing):
        why = f"only {', '.join(refusing) or 'nobody'} refuses it: no majority of {len(charter.voters)} hosts"
        raise losses.refused(f"the lease of {death.host} is not known to be over", why)
    return charter


async def outlast(controller: Controller, death: Death, is_back: Callable[[], bool]) -> Proof:
    """Returns when no guest of it can run any more. Raises Refused where that cannot be known, or it is back."""
    host = death.host
    charter = await demand_denied(controller, death)
    since_s, wait_s = clock.steady_s(), lease.longest_wait_s(charter)
    log.warning("a host's lease is waited out", host=host, seconds=wait_s)
    while (left_s := since_s + wait_s - clock.steady_s()) > 0:
        await asyncio.sleep(min(WAIT_LOOK_S, left_s))
        if is_back():
            raise losses.refused(f"the lease of {host} is not waited for", "it is connected again")
    again = await demand_denied(controller, death)
    if again.number != charter.number:
        raise losses.refused(f"the lease of {host} is waited for once more", "its voters have changed")
    asked = f"a majority of {len(charter.voters)} hosts has refused it its lease for {wait_s:.1f} s"
    text = f"{asked}: its guard, or its watchdog, has ended its guests"
    return Proof(ProofKind.LEASE_OVER, host, clock.wall_s(), controller.name, text)


async def _call(
    controller: Controller, host: str, method: str, path: str, body: object = None, within_s: float = ASK_S
) -> Any:
    return await controller.links.call(host, method, path, body, within_s=within_s)
