"""Which of several servers takes a connection: one whose machine is off must not cost seconds. It sends nothing."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

CONNECT_S: Final = 3.0
PATIENCE_S: Final = 0.3
"""A server that is named before another one may be that much slower."""


def first(urls: Sequence[str]) -> list[str]:
    """All of them: first the one that answers, by the order in which they are named; then the others."""
    if len(urls) < 2:
        return list(urls)
    heard: queue.Queue[tuple[str, bool]] = queue.Queue()
    for url in urls:
        # Daemons: the program may end while one of them still waits for a machine that is off.
        threading.Thread(target=_try, args=(url, heard), daemon=True).start()
    chosen = _chosen(urls, heard)
    return [*chosen, *(url for url in urls if url not in chosen)]


def _chosen(urls: Sequence[str], heard: queue.Queue[tuple[str, bool]]) -> list[str]:
    open_, waiting = set[str](), list(urls)
    until_s = time.monotonic() + CONNECT_S
    while waiting and (rest_s := until_s - time.monotonic()) > 0:
        if waiting[0] in open_:
            return [waiting[0]]
        try:
            url, answers = heard.get(timeout=rest_s)
        except queue.Empty:
            break
        if answers:
            if not open_:
                until_s = min(until_s, time.monotonic() + PATIENCE_S)
            open_.add(url)
        else:
            waiting.remove(url)
    return [url for url in urls if url in open_][:1]


def _try(url: str, heard: queue.Queue[tuple[str, bool]]) -> None:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), timeout=CONNECT_S):
            heard.put((url, True))
    except (OSError, ValueError):
        heard.put((url, False))
