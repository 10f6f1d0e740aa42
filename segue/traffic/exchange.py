"""The request probes: one question and its answer at a time on one connection, over a new one where it breaks."""

from __future__ import annotations

import threading
from typing import Final

from segue.errors import Kind, Refused
from segue.traffic import stream
from segue.traffic.ledger import Ledger
from segue.traffic.session import Session
from segue.traffic.speakers import Speaker
from segue.traffic.stream import Broken, GaveUp, Stream, WrongAnswer

RECONNECT_S: Final = 0.05
"""Between two tries to connect: a port that refuses answers at once, and must not be flooded."""


class Exchange:
    """One connection with its speaker and its account; a request and its repetitions are one message."""

    def __init__(
        self,
        session: Session,
        speaker: Speaker,
        address: tuple[str, int],
        target: str,
        *,
        tls_name: str,
        interval_s: float,
        timeout_s: float,
    ) -> None:
        self.ledger = Ledger(session.worst)
        self.excuse = ""
        self._session = session
        self._speaker = speaker
        self._address = address
        self._target = target
        self._tls_name = tls_name
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._deadline_s = 0.0
        self._settling = False
        self._asked_before = False
        self._pause = threading.Event()
        self._stream: Stream | None = None

    def run(self) -> None:
        """Ask until the session stops, then count lost writes. Raises Refused where nothing listens."""
        try:
            self._open_first()
            self._ask_all()
            self._session.note_gap(self.ledger.close(self._now_s()))
            self._settle()
        finally:
            self._close()

    def _ask_all(self) -> None:
        due_s, number = self._now_s(), 0
        while not self._session.stopping.wait(max(0.0, due_s - self._now_s())):
            self._request(number)
            number += 1
            # A long wait is not made up for by a burst: no client would ask like that.
            due_s = max(due_s + self._interval_s, self._now_s())

    def _request(self, number: int) -> None:
        self.ledger.note_sent(number, self._now_s())
        self._deadline_s = self._now_s() + self._timeout_s
        self._asked_before = False
        try:
            while not self._answered(number):
                self._pause.wait(RECONNECT_S)
        except GaveUp as error:
            self.excuse = self.excuse or str(error)  # What it answered before says more than its silence.
            self.ledger.broken_connections += self._close()
        except WrongAnswer as error:
            self.excuse = f"it answered {error}"
        else:
            _, gap = self.ledger.note_reply(number, self._now_s())
            self._session.note_reply(gap)
            return
        self.ledger.note_failed(number, self._now_s())

    def _answered(self, number: int) -> bool:
        """False when the connection broke: the request has to be repeated over a new one."""
        try:
            connection = self._connection()
            self.ledger.retried += self._asked_before
            self._asked_before = True
            self._speaker.ask(connection, number)
        except Broken as error:
            self.excuse = f"the connection broke: {error}"
            self.ledger.broken_connections += self._close()
            return False
        return True

    def _open_first(self) -> None:
        self._deadline_s = self._now_s() + self._timeout_s
        try:
            self._connection()
        except Broken as error:
            raise self._unreachable(str(error)) from error
        except GaveUp as error:
            raise self._unreachable("nothing answered when connecting") from error

    def _connection(self) -> Stream:
        """The open connection; a new one where there is none."""
        if self._stream is None or not self._stream.is_open:
            self._stream = stream.connect(self._address, self._left_s, self._tls_name)
        return self._stream

    def _close(self) -> bool:
        """Whether there was an open connection to give up."""
        was_open = self._stream is not None and self._stream.is_open
        if self._stream is not None:
            self._stream.close()
        return was_open

    def _settle(self) -> None:
        """Writes that cannot be read back in time count as lost: no client could read them either."""
        self._settling = True
        self._deadline_s = self._now_s() + self._timeout_s
        while self._left_s() > 0:
            try:
                self._speaker.settle(self._connection())
                break
            except Broken:
                self._close()
                self._pause.wait(RECONNECT_S)
            except (GaveUp, WrongAnswer):
                break
        self.ledger.lost_writes = self._speaker.lost_writes

    def _now_s(self) -> float:
        return self._session.clock.now_s()

    def _left_s(self) -> float:
        left_s = self._deadline_s - self._now_s()
        if self._settling and not self._session.abandoned:
            return left_s
        return min(left_s, self._session.left_s())

    def _unreachable(self, why: str) -> Refused:
        return Refused(
            what=f"cannot probe {self._target}",
            why=why,
            todo="Check that the service listens there and that this machine reaches the address.",
            kind=Kind.UNREACHABLE,
        )
