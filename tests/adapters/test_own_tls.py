"""A renewed certificate counts for new connections over real TLS, those that stand go on, and a crash leaves a pair."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest

from segue.adapters import pki, pki_files
from segue.adapters.http.access import Caller
from segue.adapters.own_tls import OwnTls
from segue.adapters.pki import Authority, Pair, Subject
from segue.errors import Kind, Refused

VALID = dt.timedelta(hours=1)


def subject(name: str) -> Subject:
    return Subject(name, f"segue://fleet/host/{name}", dns_names=(name,), server=True)


def signed(authority: Authority, request: str, name: str = "host1") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    begins = dt.datetime.now(dt.UTC) - pki.early(VALID)
    key = pki.key_of_request(request)
    return pki.certificate_for(authority, key, subject(name), begins, VALID).public_bytes(Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return pki.ensure_authority(tmp_path)


def pair(authority: Authority, folder: Path, name: str) -> Pair:
    made = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    uri = f"segue://fleet/host/{name}"
    return pki.issue(authority, made, common_name=name, uri=uri, dns_names=[name], server=True)


def matches(files: Pair) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
    except ssl.SSLError:
        return False
    return True


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


class Line:
    """A connection that says what the other side's certificate is, and echoes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.serial = str(writer.get_extra_info("peercert")["serialNumber"])

    async def works(self) -> bool:
        self._writer.write(b"hello\n")
        return await self._reader.readline() == b"hello\n"

    def close(self) -> None:
        self._writer.close()


async def test_the_next_connection_has_the_next_certificate_and_the_last_one_lives_on(
    tmp_path: Path, authority: Authority
) -> None:
    server = OwnTls(tmp_path / "ca.pem", pair(authority, tmp_path, "host1"))
    client = OwnTls(tmp_path / "ca.pem", pair(authority, tmp_path, "host2"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert")["serialNumber"])
        await echo(reader, writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server.adopt(context))
    port, calling = listening.sockets[0].getsockname()[1], client.client()

    async def connect() -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", port, ssl=calling, server_hostname="host1"))

    first = await connect()
    assert await first.works()
    for own, name in ((server, "host1"), (client, "host2")):
        own.renew(signed(authority, own.request(name), name))
        assert matches(own.pair)
    second = await connect()
    assert await first.works(), "what stands is not touched"
    assert await second.works()
    assert first.serial != second.serial
    assert len(set(seen)) == 2, "the client, too, shows its new one"
    for line in (first, second):
        line.close()
    listening.close()


async def test_one_that_is_barred_is_found_in_the_handshake(tmp_path: Path, authority: Authority) -> None:
    barred: set[str] = set()

    def demand(found: Caller) -> None:
        if found.name in barred:
            raise Refused(what="no", why=f"{found.name} is barred", todo="", kind=Kind.AUTH)

    server = OwnTls(tmp_path / "ca.pem", pair(authority, tmp_path, "host1"))
    client = OwnTls(tmp_path / "ca.pem", pair(authority, tmp_path, "host2"), demand)
    context = server.adopt(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    listening = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    port, calling = listening.sockets[0].getsockname()[1], client.client()
    line = Line(*await asyncio.open_connection("127.0.0.1", port, ssl=calling, server_hostname="host1"))
    assert await line.works()
    barred.add("host1")
    with pytest.raises(ssl.SSLCertVerificationError, match="host1 is barred"):
        await asyncio.open_connection("127.0.0.1", port, ssl=calling, server_hostname="host1")
    line.close()
    listening.close()


def test_a_certificate_that_does_not_fit_changes_nothing(tmp_path: Path, authority: Authority) -> None:
    own = OwnTls(tmp_path / "ca.pem", pair(authority, tmp_path, "host1"))
    own.client()
    before = own.pair.certificate.read_bytes(), own.pair.key.read_bytes()
    stranger = Pair(tmp_path / "x.pem", tmp_path / "x.key")
    for odd in (b"", b"no certificate", signed(authority, pki.new_request(stranger.key, "host1"))):
        own.request("host1")
        with pytest.raises(Refused, match="not used"):
            own.renew(odd)
        assert (own.pair.certificate.read_bytes(), own.pair.key.read_bytes()) == before
    assert OwnTls(tmp_path / "ca.pem", own.pair).certificate() == own.certificate()


def test_a_ca_of_the_same_key_is_taken_and_one_of_another_is_not(
    tmp_path: Path, authority: Authority
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    own = OwnTls(tmp_path / "ca.pem", pair(authority, tmp_path, "host1"))
    before = own.ca_pem
    foreign = pki.new_authority("segue CA", pki.CA_VALID * 2).certificate.public_bytes(Encoding.PEM)
    own.renew(signed(authority, own.request("host1")), foreign)
    assert own.ca_pem == before
    longer = pki.new_authority("segue CA", pki.CA_VALID * 2, authority.key).certificate
    own.renew(signed(authority, own.request("host1")), longer.public_bytes(Encoding.PEM))
    assert pki.span(own.ca_pem)[1] > pki.span(before)[1]


@pytest.mark.parametrize("cut_off_after", range(4))
def test_after_a_crash_at_any_instant_the_two_files_belong_together(
    tmp_path: Path, authority: Authority, cut_off_after: int
) -> None:
    """The writes of a replacement, one after the other, and the end of the program after each."""
    files = pair(authority, tmp_path, "host1")
    coming = pki_files.fresh(files)
    request = ""

    def new_key() -> None:
        nonlocal request
        request = pki.new_request(coming.key, "host1")

    writes = (
        new_key,
        lambda: pki.write_certificate(coming.certificate, signed(authority, request)),
        lambda: coming.key.replace(files.key),
    )
    for write in writes[:cut_off_after]:
        write()
    OwnTls(tmp_path / "ca.pem", files)
    assert matches(files)
    assert not coming.key.exists()
    assert not coming.certificate.exists()
