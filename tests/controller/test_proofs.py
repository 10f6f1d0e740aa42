"""Two ways to prove that a host is off, tried at the same time: the first one counts, whatever the other one does."""

from __future__ import annotations

import asyncio

import pytest

from segue.controller import losses
from segue.errors import Refused
from segue.model.fencing import Proof, ProofKind

OFF = Proof(ProofKind.BMC_OFF, "host1", 1.0, "bmc", "off")
OVER = Proof(ProofKind.LEASE_OVER, "host1", 1.0, "c1", "over")


async def proves(proof: Proof, after: asyncio.Event | None = None) -> Proof:
    if after is not None:
        await after.wait()
    return proof


async def refuses(why: str) -> Proof:
    raise losses.refused("host1 is not fenced", why)


async def test_a_bmc_that_hangs_does_not_hold_up_a_lease_that_is_over() -> None:
    never = asyncio.Event()
    async with asyncio.timeout(5):
        assert await losses.first_proof("host1", proves(OFF, never), proves(OVER)) is OVER
        assert await losses.first_proof("host1", proves(OFF), proves(OVER, never)) is OFF


async def test_one_that_fails_leaves_it_to_the_other() -> None:
    failed: list[str] = []
    assert await losses.first_proof("host1", refuses("no answer"), proves(OVER), failed=failed) is OVER
    assert failed == ["no answer"]
    assert await losses.first_proof("host1", proves(OFF), refuses("its voters have changed")) is OFF


async def test_where_none_proves_all_that_they_say_is_told() -> None:
    with pytest.raises(Refused, match="no answer; its voters have changed"):
        await losses.first_proof("host1", refuses("no answer"), refuses("its voters have changed"))
    with pytest.raises(Refused, match="fence = false"):
        await losses.first_proof("host1", refuses("fence = false"))
