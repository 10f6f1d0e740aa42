"""Every store under the same tests: SQLite always, three real etcd members where the lab's tests run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from segue.lab import etcd_program, places
from tests.contracts.cluster import Cluster, enclave
from tests.contracts.rigs import EtcdRig, MemoryRig, MeteredRig, Rig, SqliteRig


@pytest.fixture(scope="package")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Shared by all tests here; who breaks something calls `whole` before and after."""
    if os.geteuid() != 0:
        pytest.skip("members need network namespaces, and those need root")
    program = etcd_program.ensure(places.cache(), print) / "etcd"
    with enclave():
        cluster = Cluster(program, tmp_path_factory.mktemp("etcd"))
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()


@pytest_asyncio.fixture(params=["sqlite", "memory", "metered", pytest.param("etcd", marks=pytest.mark.lab)])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """An empty store; the test opens as many clients of it as it likes."""
    made: Rig
    if request.param == "sqlite":
        made = SqliteRig(tmp_path / "store.db")
    elif request.param == "memory":
        made = MemoryRig()
    elif request.param == "metered":
        made = MeteredRig(tmp_path / "store.db")
    else:
        made = EtcdRig(request.getfixturevalue("etcd"), f"segue/t{abs(hash(tmp_path))}")
    yield made
    await asyncio.gather(*(store.close() for store in made.opened))
