"""The table role x verb x scope, written out by hand, and what a scope is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.rights import RIGHTS, Verb
from segue.policy import rights

WEB = {"team": "web"}
# For each verb: the roles that may without a scope, and those that may with one.
TABLE = {
    Verb.LOOK: ("viewer operator admin", "viewer operator"),
    Verb.PLAN: ("viewer operator admin", "viewer operator"),
    Verb.FOLLOW: ("viewer operator admin", ""),
    Verb.SURVEY: ("viewer operator admin", ""),
    Verb.RENEW: ("viewer operator admin", ""),
    Verb.CREATE: ("operator admin", "operator"),
    Verb.MOVE: ("operator admin", "operator"),
    Verb.POWER: ("operator admin", "operator"),
    Verb.UPDATE: ("operator admin", "operator"),
    Verb.CORDON: ("operator admin", "operator"),
    Verb.DRAIN: ("operator admin", "operator"),
    Verb.STEER: ("operator admin", "operator"),
    Verb.LABEL: ("operator admin", ""),
    Verb.BALANCE: ("operator admin", ""),
    Verb.VOUCH: ("operator admin", ""),
    Verb.MAINTAIN: ("admin", ""),
    Verb.FENCE: ("admin", ""),
    Verb.ADOPT: ("admin", ""),
    Verb.REVOKE: ("admin", ""),
    Verb.TOKENS: ("admin", ""),
    Verb.AUDIT: ("admin", ""),
}
labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))


def test_every_verb_is_in_the_table() -> None:
    assert set(TABLE) == set(Verb) == set(RIGHTS)


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "host", "controller", "nobody"])
@pytest.mark.parametrize("scope", [{}, WEB], ids=["whole", "scoped"])
def test_who_may(verb: Verb, role: str, scope: dict[str, str]) -> None:
    if role == "admin" and scope:
        pytest.skip("no admin has a scope: no such token is made")
    without, having = TABLE[verb]
    may = role in (having if scope else without).split()
    assert (rights.against(role, scope, verb) == "") is may


@given(labels, labels)
def test_what_is_in_a_scope_has_all_of_its_labels(told: dict[str, str], scope: dict[str, str]) -> None:
    assert rights.within(told, scope) is all(told.get(key) == value for key, value in scope.items())


@given(labels, labels)
def test_what_somebody_makes_is_in_his_scope_or_is_not_made(
    told: dict[str, str], scope: dict[str, str]
) -> None:
    made = rights.created(told, scope)
    if made is None:
        assert any(told.get(key, value) != value for key, value in scope.items())
    else:
        assert rights.within(made, scope)
        assert told.items() <= made.items()
