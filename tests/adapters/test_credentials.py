"""Keys in their folder: who may read them, what stays, what is refused."""

from __future__ import annotations

import os
import stat
from base64 import b64decode
from math import factorial
from pathlib import Path

import pytest

from segue.adapters.qemu.credentials import Endpoint, Vault
from segue.errors import Refused

GUEST, FIRST, SECOND = "9fe1-guest", "11-first", "22-second"
OTHERS = stat.S_IRWXO
GROUP_WRITES = stat.S_IWGRP


def test_a_key_is_made_once_for_each_migration(tmp_path: Path) -> None:
    made = Vault(tmp_path).make(GUEST, FIRST, os.getgid())
    secret = Vault(tmp_path).secret(made)
    assert len(bytes.fromhex(secret)) == 32
    again = Vault(tmp_path)  # An agent that was restarted.
    assert again.secret(again.make(GUEST, FIRST, os.getgid())) == secret
    assert again.secret(again.make(GUEST, SECOND, os.getgid())) != secret


def test_the_next_migration_takes_the_old_key_away(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.make(GUEST, FIRST, os.getgid())
    vault.make(GUEST, SECOND, os.getgid())
    assert vault.find(GUEST, FIRST) is None
    vault.forget(GUEST)
    vault.forget(GUEST)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_only_root_writes_and_only_the_group_reads(tmp_path: Path) -> None:
    found = Vault(tmp_path).make(GUEST, FIRST, os.getgid())
    for path in (found.folder.parent, found.folder, *found.folder.iterdir()):
        mode = path.stat().st_mode
        assert not mode & (OTHERS | GROUP_WRITES), path
    assert sorted(path.name for path in found.folder.iterdir()) == ["dh-params.pem", "keys.psk"]


def test_qemu_finds_a_known_group_beside_its_key_and_looks_for_no_prime(tmp_path: Path) -> None:
    found = Vault(tmp_path).make(GUEST, FIRST, os.getgid())
    # RFC 7919, appendix A.1: ones at both ends, and between them 2^1918 * e, here with 130 bits more.
    e = sum((1 << 2048) // factorial(k) for k in range(400)) >> 130
    prime = (1 << 2048) - (1 << 1984) + (e + 560316) * (1 << 64) - 1
    _, *lines, _ = (found.folder / "dh-params.pem").read_text().splitlines()
    # PKCS #3: a sequence of the prime and the generator, both as integers.
    assert b64decode("".join(lines)) == bytes.fromhex("308201080282010100") + prime.to_bytes(256) + b"\2\1\2"


@pytest.mark.parametrize("secret", ["", "5e", "zz" * 32, "5e" * 32 + "\nroot:00", "5E" * 32])
def test_what_is_no_key_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(Refused, match="64 hexadecimal"):
        Vault(tmp_path).keep(GUEST, FIRST, secret, os.getgid())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["..", "../../etc", "", "a/b", "x" * 65])
def test_a_peer_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    vault = Vault(tmp_path)
    for guest, migration in ((GUEST, name), (name, FIRST)):
        with pytest.raises(Refused, match="no identifier"):
            vault.keep(guest, migration, "5e" * 32, os.getgid())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_object_does_not_hold_the_key(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    found = vault.make(GUEST, FIRST, os.getgid())
    for endpoint in Endpoint:
        assert vault.secret(found) not in str(found.properties(endpoint))
    assert "username" not in found.properties(Endpoint.SERVER), "QEMU refuses it there"
