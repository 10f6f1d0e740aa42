"""The caller's own certificate: renewed in the last third of its life, and named where it is why nobody answers.

It must never fail a command that has its answer: what cannot be renewed is said on stderr, and tried again next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from segue.cli import output
from segue.errors import Kind, Refused, SegueError
from segue.policy import renewal

NEW_ONE: Final = (
    "Ask an admin for a new one, or for a token (`segue token create`). An admin without any makes one on a "
    "controller's machine: `segue controller certify admin NAME`."
)


class Calls(Protocol):
    """The controllers, called with that certificate."""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON. Raises its error."""
        ...


def settle(tls: dict[str, str]) -> None:
    """Ends a renewal that was cut off between its two files; to be called before they are read."""
    certificate, key = Path(tls.get("cert", "")), Path(tls.get("key", ""))
    if certificate.name and certificate.with_name(f".{certificate.name}.next").exists():
        from segue.adapters import pki, pki_files

        with contextlib.suppress(OSError), _alone(certificate) as is_alone:
            if is_alone:
                pki_files.settle(pki.Pair(certificate, key))


def renew(tls: dict[str, str], calls: Calls) -> None:
    """If it is time."""
    span = _span(tls)
    if span is None or not renewal.is_time(*span, time.time()):
        return
    certificate = Path(tls["cert"])
    try:
        with _alone(certificate) as is_alone:
            if is_alone:
                _renew(tls, calls)
                output.say(f"Your certificate {certificate} was renewed.")
    except (SegueError, OSError) as error:
        if isinstance(error, SegueError) and error.kind is Kind.NOT_FOUND:
            return  # A controller that is older renews none.
        why = f"{error.why}" if isinstance(error, SegueError) else f"{error}"
        output.say(f"Your certificate {certificate} ends on {_day(span[1])} and was not renewed: {why}")


def _renew(tls: dict[str, str], calls: Calls) -> None:
    from segue.adapters.own_tls import OwnTls
    from segue.adapters.pki import Pair

    own = OwnTls(Path(tls["ca"]), Pair(Path(tls["cert"]), Path(tls["key"])))
    answer = calls.call("POST", "/certificates", {"request": own.request("person")})
    own.renew(answer["certificate"].encode(), answer["ca"].encode())


def demand_holds(tls: dict[str, str]) -> None:
    """Raises Refused for one that has ended or has not begun: no server would say so in words that help."""
    span, now_s = _span(tls), time.time()
    if span is None or span[0] <= now_s < span[1]:
        return
    when = (
        f"ended on {_day(span[1])}"
        if now_s >= span[1]
        else f"begins on {_day(span[0])}, by this machine's clock"
    )
    raise Refused(
        what="nobody takes a call from here",
        why=f"the certificate {tls['cert']} {when}",
        todo=NEW_ONE if now_s >= span[1] else "Set the clock right.",
        kind=Kind.AUTH,
    )


def unusable(tls: dict[str, str], error: Exception) -> str:
    """Why the files cannot be used: Python names none that is missing."""
    missing = [
        path for path in (tls.get(key, "") for key in ("ca", "cert", "key")) if path and not _is_there(path)
    ]
    return (
        f"{', '.join(missing)} cannot be read"
        if missing
        else f"{error} ({tls.get('cert', 'no cert is named')})"
    )


def _is_there(path: str) -> bool:
    return os.access(path, os.R_OK)


def _span(tls: dict[str, str]) -> tuple[float, float] | None:
    from segue.adapters import pki

    try:
        return pki.span(Path(tls["cert"]).read_bytes())
    except (KeyError, OSError, ValueError):
        return None


@contextlib.contextmanager
def _alone(certificate: Path) -> Iterator[bool]:
    """False where another command is at it. The lock goes with the process."""
    with certificate.with_name(f".{certificate.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
