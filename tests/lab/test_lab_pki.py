"""The lab's certificates name who holds them, and a verifier takes the right ones and no others."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from segue.lab import pki


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def verify(certificate: Path, authority: pki.Authority, address: str) -> None:
    subject = x509.IPAddress(ipaddress.ip_address(address))
    builder = PolicyBuilder().store(Store([authority.certificate]))
    builder.build_server_verifier(subject).verify(load(certificate), [])


def test_a_host_is_a_server_and_a_client_under_its_three_names(tmp_path: Path) -> None:
    authority = pki.ensure_authority(tmp_path)
    pair = pki.ensure_host(authority, tmp_path, "host1", "10.77.0.11")
    verify(pair.certificate, authority, "10.77.0.11")
    names = load(pair.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["segue://lab/host/host1"]
    assert names.get_values_for_type(x509.DNSName) == ["host1"]
    purposes = load(pair.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    with pytest.raises(VerificationError):
        verify(pair.certificate, authority, "10.77.0.12")


def test_an_operator_is_no_server(tmp_path: Path) -> None:
    pair = pki.ensure_operator(pki.ensure_authority(tmp_path), tmp_path)
    purposes = load(pair.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = load(pair.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["segue://lab/operator/admin"]


def test_files_are_made_once_where_expected_and_keys_are_private(tmp_path: Path) -> None:
    authority = pki.ensure_authority(tmp_path)
    pki.ensure_host(authority, tmp_path, "host1", "10.77.0.11")
    pki.ensure_operator(authority, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(path.relative_to(tmp_path)) for path in files} == {
        "ca.pem", "ca.key", "operator.pem", "operator.key", "hosts/host1.pem", "hosts/host1.key",
    }  # fmt: skip
    again = pki.ensure_authority(tmp_path)
    pki.ensure_host(again, tmp_path, "host1", "10.77.0.11")
    pki.ensure_operator(again, tmp_path)
    assert {path: path.read_bytes() for path in files} == files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files if path.suffix == ".key"} == {0o600}


def test_an_expired_certificate_and_a_strangers_are_not_taken(tmp_path: Path) -> None:
    authority, stranger = pki.ensure_authority(tmp_path), pki.new_authority()
    pair = pki.Pair(tmp_path / "x.pem", tmp_path / "x.key")
    names = {
        "common_name": "host1",
        "uri": pki.host_uri("host1"),
        "addresses": ["10.77.0.11"],
        "server": True,
    }
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)
    pki.issue(authority, pair, **names, not_before=long_ago, valid=dt.timedelta(days=1))  # type: ignore[arg-type]
    with pytest.raises(VerificationError):
        verify(pair.certificate, authority, "10.77.0.11")
    pki.issue(stranger, pair, **names)  # type: ignore[arg-type]
    with pytest.raises(VerificationError):
        verify(pair.certificate, authority, "10.77.0.11")
    verify(pair.certificate, stranger, "10.77.0.11")


def test_openssl_loads_key_and_certificate_together(tmp_path: Path) -> None:
    pair = pki.ensure_host(pki.ensure_authority(tmp_path), tmp_path, "host1", "10.77.0.11")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.key)
