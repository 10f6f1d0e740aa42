"""Lets a lab host, which has no way out, reach package archives: an HTTP proxy that listens inside the host alone."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from segue.lab.api import Lab

PORT: Final = 3142
CLONE_NEWNET: Final = 0x40000000
CONDITIONS: Final = ("If-Modified-Since", "Range", "If-Range", "Cache-Control")


class Forwards(BaseHTTPRequestHandler):
    """What apt asks of a proxy: GET with the whole URL."""

    def do_GET(self) -> None:
        headers = {name: self.headers[name] for name in CONDITIONS if name in self.headers}
        asked = urllib.request.Request(self.path, headers=headers)
        try:
            answer = urllib.request.urlopen(asked, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.send_response(answer.status)
            for name in ("Content-Length", "Last-Modified", "Content-Type", "Content-Range"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Connection", "close")
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def archives(lab: Lab, host: str) -> Iterator[None]:
    """While it is open, apt in that host reaches what this machine reaches."""
    listener = _listener_in(lab.host_pids(host)[0])
    server = ThreadingHTTPServer(listener.getsockname(), Forwards, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    words = f'Acquire::http::Proxy "http://127.0.0.1:{PORT}";'
    lab.exec(host, ["tee", "/etc/apt/apt.conf.d/90relay"], input=words, check=True)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _listener_in(pid: int) -> socket.socket:
    """Opened by a thread that visits the host's network; the socket stays there."""
    made: list[socket.socket] = []

    def visit() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(network, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(network)
        made.append(socket.create_server(("127.0.0.1", PORT)))

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    (listener,) = made
    return listener
