"""What every part of the agent shares: configuration, journal, network, peers, and the events it tells."""

from __future__ import annotations

from dataclasses import dataclass, field

import aiohttp

from segue.adapters.net.links import Links
from segue.adapters.net.steering import Steering
from segue.adapters.own_tls import OwnTls
from segue.adapters.peer import PeerClient
from segue.adapters.qemu.capabilities import Capabilities
from segue.adapters.storage.beat import Beats
from segue.adapters.store.journal import Journal
from segue.agent.aftercare import Caretaker
from segue.agent.apps import Apps
from segue.agent.boards import Boards
from segue.agent.channels import Protection
from segue.agent.config import Config
from segue.agent.crashes import Crashes
from segue.agent.daemons import Daemons
from segue.agent.failpoints import Failpoints
from segue.agent.figures import Figures
from segue.agent.flows import Flows
from segue.agent.intake import Intake
from segue.agent.lease import Lease
from segue.agent.link_share import LinkShare
from segue.agent.metadata import Metadata
from segue.agent.networks import Networks
from segue.agent.notices import Notices
from segue.agent.pulling import Pulling
from segue.agent.traces import Traces
from segue.agent.trust import Trust
from segue.errors import Kind, Refused


@dataclass
class Services:
    """Made once at the agent's start."""

    config: Config
    journal: Journal
    links: Links
    steering: Steering
    networks: Networks
    flows: Flows
    session: aiohttp.ClientSession
    peers: dict[str, PeerClient]
    capabilities: Capabilities
    notices: Notices
    failpoints: Failpoints
    protection: Protection
    share: LinkShare
    boards: Boards
    care: Caretaker
    metadata: Metadata
    daemons: Daemons
    intake: Intake
    pulling: Pulling
    own: OwnTls
    trust: Trust
    figures: Figures
    traces: Traces
    crashes: Crashes
    apps: Apps
    lease: Lease
    beats: Beats
    foreign: dict[str, str] = field(default_factory=dict)
    """Controllers of another fleet that were met, by URL, and why they are not heeded."""
    closed: str = ""
    """Why nothing is let in here and nothing starts, until the next boot; empty where it may."""

    def demand_open(self, what: str) -> None:
        """Raises Refused while the host is about to go down."""
        if self.closed:
            raise Refused(
                what=what,
                why=f"{self.config.name} {self.closed}",
                todo="Wait until it is back, or choose another host.",
                kind=Kind.BUSY,
            )

    def meet(self, name: str, url: str) -> None:
        """From now on this host can be asked, and guests can move there."""
        self.config.peers[name] = url
        self.peers[name] = PeerClient(self.session, name, url, self.trust.demand_name)

    def meet_all(self, known: dict[str, str]) -> None:
        """Name -> URL."""
        for name, url in known.items():
            self.meet(name, url)

    def peer(self, name: str) -> PeerClient:
        """The client of a peer. Raises Refused for a host that is not in the configuration."""
        try:
            return self.peers[name]
        except KeyError:
            known = ", ".join(sorted(self.peers)) or "none"
            raise Refused(
                what=f"there is no host {name}",
                why=f"{self.config.name} knows these hosts: {known}",
                todo="Choose one of them, or add the host to [peers] in the agent's configuration.",
                kind=Kind.NOT_FOUND,
            ) from None
