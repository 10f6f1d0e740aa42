"""Where an etcd is and how to be let in. Only checked values; nothing is dialled here."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from segue.errors import Kind, Refused

PORT: Final = 2379
PREFIX: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
HOST: Final = re.compile(r"\[[0-9a-fA-F:.]+\](:\d+)?|[A-Za-z0-9._-]+(:\d+)?")
OPTIONS: Final = frozenset({"ca", "cert", "key", "user", "password-file"})
SCHEMES: Final = {"etcd": "https", "etcd+plain": "http"}


@dataclass(frozen=True)
class EtcdPlace:
    """`endpoints`: such as https://a:2379. Without `user`, etcd's own authentication is off."""

    endpoints: tuple[str, ...]
    prefix: str = "segue"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None

    def password(self) -> str:
        """Read anew each time, so that it can be changed. Raises Refused."""
        assert self.password_file is not None
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise _refused(f"the password cannot be read: {error}") from error

    def context(self) -> ssl.SSLContext | None:
        """None for a plain connection. Raises Refused."""
        if self.endpoints[0].startswith("http:"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise _refused(f"the certificates cannot be used: {error}") from error
        return context


def parse(url: str) -> EtcdPlace:
    """`etcd://a:2379,b,c/PREFIX?ca=FILE&cert=FILE&key=FILE&user=NAME&password-file=FILE`. Raises Refused."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if problem := _problem(parts.scheme, parts.netloc, parts.path, parts.fragment, pairs):
        raise _refused(problem)
    endpoints = tuple(_endpoint(SCHEMES[parts.scheme], host) for host in parts.netloc.split(","))
    place = EtcdPlace(
        endpoints=endpoints,
        prefix=parts.path.strip("/") or "segue",
        user=options.get("user", ""),
        **{name: Path(options[name]) for name in ("ca", "cert", "key") if name in options},
        password_file=Path(options["password-file"]) if "password-file" in options else None,
    )
    for path in (place.ca, place.cert, place.key, place.password_file):
        if path is not None and not path.is_file():
            raise _refused(f"{path} is not there")
    return place


def _problem(scheme: str, hosts: str, path: str, fragment: str, pairs: list[tuple[str, str]]) -> str:
    """The first thing that is wrong with it."""
    options = dict(pairs)
    prefix = path.strip("/")
    wrong = [host for host in hosts.split(",") if not HOST.fullmatch(host)]
    unknown = sorted(options.keys() - OPTIONS)
    checks = {
        "a password in a URL can be read by everyone: use user= and password-file=": "@" in hosts,
        f"{wrong[:1]} is not host or host:port": wrong,
        f"{prefix!r} cannot be a prefix": prefix and not PREFIX.fullmatch(prefix),
        f"it has no option {unknown[:1]}; there are {', '.join(sorted(OPTIONS))}": unknown,
        "an option is empty, or there twice": fragment or len(options) < len(pairs) or "" in options.values(),
        "user= and password-file= go together": ("user" in options) != ("password-file" in options),
        "cert= and key= go together": ("cert" in options) != ("key" in options),
        "etcd+plain:// is not encrypted: take etcd:// where there are certificates": scheme == "etcd+plain"
        and options.keys() & {"ca", "cert", "key"},
    }
    return next((problem for problem, holds in checks.items() if holds), "")


def _endpoint(scheme: str, host: str) -> str:
    return f"{scheme}://{host}" if re.search(r":\d+$", host) else f"{scheme}://{host}:{PORT}"


def _refused(why: str) -> Refused:
    return Refused(
        what="cannot use the URL of the etcd store",
        why=why,
        todo="Write it as etcd://HOST[:PORT],HOST,HOST/PREFIX?ca=FILE&cert=FILE&key=FILE&user=NAME&password-file=FILE.",
        kind=Kind.USAGE,
    )
