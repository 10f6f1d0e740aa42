"""Hosts that refused a guest are left out of those that people wished for it; nothing else comes in for that."""

from __future__ import annotations

from segue.controller import fleet


def test_a_refusal_does_not_widen_what_was_wished_for() -> None:
    wants = {"host": ("h1", "h2"), "disk": ("ssd",)}
    assert fleet.narrowed(wants, ("h2", "h3")) == {"host": ("h2",), "disk": ("ssd",)}
    assert fleet.narrowed(wants, ("h3",)) == {"host": ("nowhere",), "disk": ("ssd",)}
    assert fleet.narrowed({}, ("h3",)) == {"host": ("h3",)}
    assert fleet.narrowed(wants, ()) == wants
