"""What a client saw while a guest moved: the figures of one probe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """A time without any reply, in wall-clock seconds, so that it can be matched to a migration."""

    started_s: float
    ended_s: float

    @property
    def length_s(self) -> float:
        """How long nothing came."""
        return self.ended_s - self.started_s


@dataclass(frozen=True)
class Latency:
    """How long replies took, in seconds: the share of them that took no longer, right to 1 percent."""

    p50_s: float = 0.0
    p90_s: float = 0.0
    p99_s: float = 0.0
    p999_s: float = 0.0
    max_s: float = 0.0


@dataclass(frozen=True)
class Observation:
    """One probe's account. Counts are of packets (udp) or requests (tcp, http, redis).

    Always: sent == received + lost, where a request that was repeated over a new connection counts once.
    """

    probe: str
    target: str
    started_s: float
    ended_s: float
    sent: int = 0
    received: int = 0
    lost: int = 0
    """Without the right reply when the probe ended."""
    lost_sent_s: tuple[float, ...] = ()
    """When the first of them were sent, by the wall clock: 20 of them at most, of those that got no reply at all."""
    duplicated: int = 0
    reordered: int = 0
    """Replies that came after the reply to something sent later (RFC 4737, type-P-reordered)."""
    failed: int = 0
    """Requests with a wrong reply or none in time, so as many as lost; udp: only packets that came back changed."""
    retried: int = 0
    """Repetitions of requests whose connection broke."""
    broken_connections: int = 0
    lost_writes: int = 0
    """Writes that were acknowledged and could not be read back at the end."""
    longest_gap_s: float = 0.0
    longest_request_s: float = 0.0
    """The slowest request, one without a reply included; 0 for udp."""
    own_pause_s: float = 0.0
    """udp: the longest time between two packets of the probe; a gap no longer than that may be its own."""
    latency: Latency = Latency()
    gaps: tuple[Gap, ...] = ()
    """The longest gaps, the longest first."""

    def longest_gap_between(self, started_s: float, ended_s: float) -> float:
        """The longest time without a reply that overlaps this span of wall-clock time; 0 when none does."""
        within = (gap for gap in self.gaps if gap.ended_s >= started_s and gap.started_s <= ended_s)
        return max((gap.length_s for gap in within), default=0.0)
