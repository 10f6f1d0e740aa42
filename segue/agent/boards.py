"""What guests are told, on this host: kept in the journal, and whoever waits for a change is woken."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from segue.adapters.store.journal import Journal
from segue.errors import Kind, Refused
from segue.model.notice import Board, NoticeState, Subscription
from segue.policy import notice


class Boards:
    """One board for each guest, by its uuid."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._changed: dict[str, asyncio.Event] = {}

    def of(self, uuid: str) -> Board:
        """The guest's board as it stands."""
        return self._journal.board(uuid)

    def put(self, uuid: str, board: Board) -> Board:
        """Keeps it, and wakes all who wait."""
        if board != self.of(uuid):
            self._journal.put_board(uuid, board)
            self._changed.pop(uuid, asyncio.Event()).set()
        return board

    async def changed(self, uuid: str, within_s: float) -> None:
        """Returns at the next change, or when the time is over."""
        event = self._changed.setdefault(uuid, asyncio.Event())
        try:
            async with asyncio.timeout(within_s):
                await event.wait()
        except TimeoutError:
            return

    def subscribe(self, uuid: str, wish: Subscription) -> Board:
        """Registers a program of the guest, or changes its wish. Raises Refused beyond a bound."""
        board = self.of(uuid)
        others = tuple(one for one in board.subscriptions if one.name != wish.name)
        if len(others) >= notice.SUBSCRIPTIONS_MAX:
            raise Refused(
                what=f"{wish.name} is not registered",
                why=f"{len(others)} programs of this guest are",
                todo="Take one back that is not needed any more.",
            )
        return self.put(uuid, replace(board, subscriptions=(*others, wish)))

    def unsubscribe(self, uuid: str, name: str) -> Board:
        """Takes a registration back; none is no error."""
        board = self.of(uuid)
        left = tuple(one for one in board.subscriptions if one.name != name)
        return self.put(uuid, replace(board, subscriptions=left))

    def answer(self, uuid: str, name: str) -> Board:
        """The program is ready to be moved. Raises Refused where nobody asked, or it never registered."""
        board = self.of(uuid)
        if board.state is not NoticeState.PENDING or name not in {one.name for one in board.subscriptions}:
            pending = board.state is NoticeState.PENDING
            raise Refused(
                what=f"the ready of {name} is of no use",
                why="it is not registered" if pending else "no migration of this guest is pending",
                todo="Register first, and answer when maintenance-event says that a migration is pending.",
                kind=Kind.CONFLICT,
            )
        if name in board.ready:
            return board
        return self.put(uuid, replace(board, ready=(*board.ready, name)))


class MigrationNotice:
    """Engine port `Notice`: the board of one guest, for one migration."""

    def __init__(self, boards: Boards, uuid: str, migration: str, most_s: float) -> None:
        self._boards = boards
        self._uuid = uuid
        self._migration = migration
        self._most_s = most_s

    def board(self) -> Board:
        """See engine/ports.py."""
        return self._boards.of(self._uuid)

    def most_s(self) -> float:
        """See engine/ports.py."""
        return self._most_s

    def announce(self, begins_at_s: float) -> Board:
        """See engine/ports.py."""
        board = self.board()
        if board.migration == self._migration and board.state is NoticeState.PENDING:
            return board  # An agent that was restarted: the time that was given still holds.
        told = replace(
            board, state=NoticeState.PENDING, migration=self._migration, begins_at_s=begins_at_s, ready=()
        )
        return self._boards.put(self._uuid, told)

    async def changed(self, within_s: float) -> None:
        """See engine/ports.py."""
        await self._boards.changed(self._uuid, within_s)

    def conclude(self, *, moved: bool) -> Board:
        """See engine/ports.py."""
        board = self.board()
        if board.migration != self._migration:
            return board
        state = NoticeState.ENDED if moved else NoticeState.CANCELLED
        return self._boards.put(self._uuid, replace(board, state=state, ready=()))
