"""The six consequences an operator has to tell apart; a text that fits none of them is a bug."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What sort of refusal it was; the CLI and the API turn it into an exit code and a status."""

    POLICY = "policy"
    USAGE = "usage"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    AUTH = "auth"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BUSY = "busy"


class SegueError(Exception):
    """An error that says what, why and what to do; its class says where the guest is."""

    consequence = "refused"

    def __init__(self, *, what: str, why: str, todo: str, kind: Kind = Kind.POLICY) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.todo = todo
        self.kind = kind


class Refused(SegueError):
    """Nothing was changed."""

    consequence = "refused"


class Aborted(SegueError):
    """Everything begun was undone; the guest runs on the source."""

    consequence = "aborted"


class Unsettled(SegueError):
    """The guest runs on the target; the cleanup is still going on by itself."""

    consequence = "unsettled"


class InDoubt(SegueError):
    """The guest runs on the target or nowhere; only fencing or a mended link can tell."""

    consequence = "in_doubt"


class Lost(SegueError):
    """The guest ended while it was being moved; what was only in its memory is gone. Its policy says what follows."""

    consequence = "lost"


class Unknown(SegueError):
    """A change to the fleet's store may be done, all or in part; the text says how to know. No guest was touched."""

    consequence = "unknown"


CONSEQUENCES: dict[str, type[SegueError]] = {
    cls.consequence: cls for cls in (Refused, Aborted, Unsettled, InDoubt, Lost, Unknown)
}
