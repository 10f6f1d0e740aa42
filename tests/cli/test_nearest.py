"""Of several servers the one that takes a connection comes first, by the order in which they are named."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from segue.cli import nearest


@contextmanager
def server() -> Iterator[str]:
    """Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"


def closed() -> str:
    """A URL where nobody listens."""
    with server() as url:
        return url


def test_one_that_is_off_comes_after_those_that_answer() -> None:
    with server() as url:
        off = closed()
        assert nearest.first((off, url)) == [url, off]
        assert nearest.first((off, off + "0", url))[0] == url


def test_of_several_that_answer_the_first_that_is_named() -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(server()) for _ in range(3)]
        assert nearest.first(urls) == urls
        assert nearest.first((closed(), *urls))[0] == urls[0]


def test_where_none_answers_the_order_stays() -> None:
    urls = [closed(), closed()]
    assert nearest.first(urls) == urls


def test_the_only_one_is_not_tried() -> None:
    assert nearest.first(("https://192.0.2.1:7440",)) == ["https://192.0.2.1:7440"]
    assert nearest.first(()) == []
