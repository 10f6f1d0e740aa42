"""A person's certificate renews itself; what is barred, too young, ended or no certificate does not, and it is said."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import ssl
from pathlib import Path

import httpx2
import pytest
from cryptography import x509

from segue.adapters import pki, pki_files
from segue.adapters.pki import Pair
from segue.controller import folder
from segue.errors import Refused, SegueError
from tests.controller.rig import Rig

LIFE_S = 300.0


@pytest.fixture
async def up(rig: Rig) -> Rig:
    rig.start()
    await rig.until("somebody leads", lambda: rig.caller().call("GET", "/status")["leader"])
    return rig


def person(rig: Rig, name: str = "olga", age: float = 0.8, role: str = "operator") -> Pair:
    """A certificate of which so much of its life is over."""
    pair = Pair(rig.path / f"{name}.pem", rig.path / f"{name}.key")
    return pki.issue(
        rig.folder.authority(), pair, common_name=name, uri=f"segue://fleet/{role}/{name}",
        not_before=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=LIFE_S * age), valid=dt.timedelta(seconds=LIFE_S),
    )  # fmt: skip


def of(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def serial(pair: Pair) -> str:
    return f"{of(pair).serial_number:X}"


def copy(pair: Pair) -> Pair:
    """As a thief has it."""
    made = Pair(pair.certificate.with_suffix(".was.pem"), pair.key.with_suffix(".was.key"))
    shutil.copy(pair.certificate, made.certificate)
    shutil.copy(pair.key, made.key)
    return made


async def test_it_is_renewed_by_a_command_like_any_other(up: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    olga = person(up)
    old, first = copy(olga), serial(olga)
    assert (await up.call("GET", "/status", caller=up.caller(olga)))["leader"] == "c1"
    assert serial(olga) != first
    assert f"{olga.certificate} was renewed" in capfd.readouterr().err
    assert pki.subject_of(of(olga)) == pki.subject_of(of(old))
    left = of(olga).not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert LIFE_S * 0.9 < left.total_seconds() <= LIFE_S, "it holds for as long as the one before"
    assert olga.key.stat().st_mode & 0o077 == 0
    lines = (await up.call("GET", "/audit?limit=500"))["items"]
    told = [line for line in lines if line["what"] == "renew" and line["who"] == "olga"]
    assert [line["outcome"] for line in told] == [f"certificate {serial(olga)} after {first}"]
    await demand_ended_if_cut_off(up)
    again = serial(olga)
    await up.call("GET", "/hosts", caller=up.caller(old))
    await up.call("GET", "/status", caller=up.caller(olga))
    assert serial(olga) == again, "a young one is left alone"


async def test_who_is_barred_gets_none_and_what_followed_is_barred_with_it(up: Rig) -> None:
    olga = person(up)
    old = copy(olga)
    await up.call("GET", "/status", caller=up.caller(olga))
    new = serial(olga)
    await up.call("POST", "/bars", {"who": serial(old), "why": "stolen"})
    assert {bar["who"] for bar in (await up.call("GET", "/bars"))["items"]} == {serial(old), new}
    for pair in (olga, old):
        with pytest.raises(SegueError, match="was barred"):
            await up.call("GET", "/status", caller=up.caller(pair))
    assert serial(olga) == new
    otto = person(up, "otto")
    await up.call("POST", "/bars", {"who": "operator:otto"})
    request = pki.new_request(up.path / "new.key", "otto")
    with pytest.raises(SegueError, match="was barred"):
        await up.call("POST", "/certificates", {"request": request}, up.caller(otto))


def asked(rig: Rig, pair: Pair, request: str) -> httpx2.Response:
    """With that very certificate, which the command line would renew by itself."""
    context = ssl.create_default_context(cafile=str(rig.folder.ca))
    context.load_cert_chain(pair.certificate, pair.key)
    with httpx2.Client(base_url=f"{rig.urls()[0]}/v1", verify=context) as client:
        return client.post("/certificates", json={"request": request})


async def demand_no_more_than_the_caller_is(up: Rig) -> None:
    olga, request = person(up, "uma", role="viewer"), pki.new_request(up.path / "new.key", "admin")
    for _ in range(5):
        found = await asyncio.to_thread(asked, up, olga, request)
        made = pki.subject_of(x509.load_pem_x509_certificate(found.json()["certificate"].encode()))
        assert (made.common_name, made.uri, made.server) == ("uma", "segue://fleet/viewer/uma", False)
    found = await asyncio.to_thread(asked, up, olga, request)
    assert (found.status_code, found.json()["why"]) == (422, "5 followed it already")


async def test_who_asks_too_early_or_without_one_gets_none(up: Rig) -> None:
    request = {"request": pki.new_request(up.path / "new.key", "admin")}
    with pytest.raises(SegueError, match="more than a third of its life is left"):
        await up.call("POST", "/certificates", request, up.caller(person(up, age=0.5)))
    token = (await up.call("POST", "/tokens", {"role": "operator", "name": "otto"}))["token"]
    with pytest.raises(SegueError, match="a token is not renewed"):
        await up.call("POST", "/certificates", request, up.caller(token=token))
    with pytest.raises(SegueError, match="host9"):
        await up.call("POST", "/certificates", request, up.caller(up.certificate("host", "host9")))
    with pytest.raises(SegueError, match="the request cannot be used"):
        await up.call("POST", "/certificates", {"request": "x"}, up.caller(person(up, "ute")))
    await demand_no_more_than_the_caller_is(up)


@pytest.mark.slow
async def test_where_it_is_not_renewed_the_command_goes_on_and_says_so(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.start("c1", "--no-renew-people")
    olga = person(rig)
    first = serial(olga)
    await rig.until("it is up", lambda: rig.caller(olga).call("GET", "/status")["leader"])
    assert serial(olga) == first
    said = capfd.readouterr().err
    assert "was not renewed: this controller renews no certificates of people" in said


async def test_one_that_has_ended_is_named_and_an_admin_makes_himself_another(up: Rig) -> None:
    done = await up.segue("status", pair=person(up, age=1.1))
    assert done.returncode == 6
    assert "olga.pem ended on" in done.stderr
    assert "segue controller certify admin NAME" in done.stderr
    made = folder.certify(up.folder, "admin", "ada", up.path / "people", 86400.0)
    done = await up.segue("token", "list", "--json", pair=made)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    for role, name in (("root", "ada"), ("admin", "../ada"), ("admin", "ada")):
        with pytest.raises(Refused, match="no certificate was made"):
            folder.certify(up.folder, role, name, up.path / "people", 86400.0)


async def demand_ended_if_cut_off(up: Rig) -> None:
    """Between its two files."""
    ida, other = person(up, "ida", age=0.1), person(up, "otto", age=0.1)
    fresh = pki_files.fresh(ida)
    shutil.copy(other.certificate, fresh.certificate)
    other.key.replace(ida.key)  # As after the first of the two renames.
    await up.call("GET", "/status", caller=up.caller(ida))
    assert serial(ida) == serial(other)
    assert not Path(fresh.certificate).exists()
