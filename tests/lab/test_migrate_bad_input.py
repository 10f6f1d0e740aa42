"""What cannot be meant or cannot work is refused with the reason, before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from segue.lab import pki
from tests.lab.moves import SLOWLY
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow
AGENT_TOML = "/etc/segue/agent.toml"


@pytest.fixture
def still(scene: Scene) -> Iterator[Scene]:
    """The scene; afterwards the guest runs where it ran, and nothing was begun."""
    owner, lived_s = scene.owner(), scene.client.uptime_s()
    yield scene
    scene.demand_calm()
    assert scene.owner() == owner
    assert scene.client.uptime_s() >= lived_s


def refused(scene: Scene, *words: str, code: int, why: str) -> None:
    done = scene.segue(*words)
    assert done.returncode == code, done.stderr
    assert why in done.stderr
    assert "what to do:" in done.stderr
    assert not done.stdout


def test_names_that_do_not_exist(still: Scene) -> None:
    source = still.owner()
    refused(still, "migrate", "nobody", "--to", "host2", code=3, why="no host that answers has it")
    refused(still, "migrate", GUEST, "--to", "host9", code=3, why="host1, host2, host3")
    refused(still, "migrate", GUEST, "--to", source, code=4, why="it is there already")
    refused(still, "migrate", GUEST, "--to", "host3", "--max-blackout", "soon", code=2, why="duration")
    refused(still, "migrate", GUEST, "--to", "host3", "--probe", "icmp:1", code=2, why="KIND:PORT")
    refused(still, "vm", "create", "Bad Name", "--host", source, code=2, why="is no name")
    refused(still, "vm", "create", GUEST, "--host", "host3", code=4, why="of that name already")
    refused(still, "vm", "create", "big", "--host", source, "--memory", "900TiB", code=2, why="16 TiB")
    refused(still, "vm", "create", "big", "--host", source, "--memory", "9TiB", code=4, why="short of memory")
    refused(still, "vm", "create", "x", "--host", source, "--cpu", "EPYC-Genoa", code=4, why="its CPU lacks")
    refused(
        still, "vm", "create", "x", "--host", source, "--image", "../etc", code=3, why="there is no image"
    )
    refused(still, "vm", "delete", GUEST, "--yes", code=4, why="it is running")


# A real QEMU that really lacks something: on this host every Nehalem has to have AVX-512, which TCG has not.
WRAPPED = "/usr/local/bin/qemu-system-x86_64"
REAL = "/usr/bin/qemu-system-x86_64 -global Nehalem-x86_64-cpu.avx512f=on"
POORER = f"printf '#!/bin/sh\\nexec {REAL} \"$@\"\\n' >{WRAPPED}; chmod 755 {WRAPPED}"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(POORER, "its CPU lacks avx512f", marks=slow),
        pytest.param(
            f"sed -i '1i memory_reserve_bytes = 999999999999999' {AGENT_TOML}", "short of memory", marks=slow
        ),
        ("mount --bind /mnt /srv/segue/shared", "does not see"),
        pytest.param("ip link set br0 name br9", "has no bridge br0", marks=slow),
    ],
    ids=["feature", "room", "disk", "bridge"],
)
def test_a_target_that_does_not_fit(still: Scene, change: str, why: str) -> None:
    mend = {
        "its CPU lacks avx512f": f"rm {WRAPPED}",
        "does not see": "umount -l /srv/segue/shared",  # Whoever looks at it at this moment may finish.
        "has no bridge br0": "ip link set br9 name br0",
    }
    with still.configured("host3", change):
        try:
            refused(still, "migrate", GUEST, "--to", "host3", code=4, why=why)
            assert still.call("host3", "GET", "/guests") == []
        finally:
            if why in mend:
                still.run("host3", "sh", "-c", mend[why])


def test_another_file_under_the_same_path_is_no_shared_disk(still: Scene) -> None:
    disk = still.shown(still.owner())["spec"]["disks"][0]["path"]  # type: ignore[index]
    still.run("host3", "sh", "-ec", f"head -c 1M /dev/urandom >/root/other; mount --bind /root/other {disk}")
    try:
        refused(still, "migrate", GUEST, "--to", "host3", code=4, why="another file")
    finally:
        still.run("host3", "umount", "-l", disk)


def test_a_guest_that_is_on_its_way_already(scene: Scene) -> None:
    _, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    with ThreadPoolExecutor(2) as pool:
        again = ("migrate", GUEST, "--to", "host3")
        asked = pool.submit(refused, scene, *again, code=4, why="a migration is under way")
        refused(scene, "vm", "stop", GUEST, code=4, why="offered")
        asked.result()
    move.cancel()
    move.end("aborted")
    scene.demand_calm()


def test_a_second_agent_on_the_same_host(still: Scene) -> None:
    done = still.lab.exec("host3", ["segue", "agent", "--config", AGENT_TOML])
    assert done.returncode == 4
    assert "another agent already uses" in done.stderr


@slow
def test_another_installation_under_a_known_name(scene: Scene) -> None:
    source, target = scene.route()
    assert (
        scene.segue("migrate", GUEST, "--to", target, "--dry-run").returncode == 0
    )  # Now they know each other.
    change = "sv -w 20 stop segue-agent; mv /var/lib/segue /root/state.kept"
    back = "sv -w 20 stop segue-agent; rm -rf /var/lib/segue; mv /root/state.kept /var/lib/segue"
    scene.run(target, "sh", "-ec", f"{change}; sv start segue-agent")
    scene.wait_for_agent(target)
    try:
        refused(
            scene, "migrate", GUEST, "--to", target, code=4, why="another agent now answers under that name"
        )
        assert scene.segue("host", "forget", target).returncode == 0
        scene.migrate(target).end("done")
        scene.migrate(source).end("done")
    finally:
        scene.run(target, "sh", "-ec", f"{back}; sv start segue-agent")
        scene.wait_for_agent(target)
        scene.segue("host", "forget", target)
    scene.demand_calm()


CALL = """
import http.client, json, pathlib, ssl, sys, tempfile
wish = json.load(sys.stdin)
context = ssl.create_default_context(cafile="/etc/segue/pki/ca.pem")
folder = pathlib.Path(tempfile.mkdtemp())
if wish:
    for name in ("cert", "key"):
        (folder / name).write_text(wish[name])
    context.load_cert_chain(folder / "cert", folder / "key")
line = http.client.HTTPSConnection("10.77.0.11", 7443, context=context, timeout=10)
try:
    line.request("GET", "/v1/guests")
    print(line.getresponse().status)
except (ssl.SSLError, OSError) as error:
    print("refused", type(error).__name__)
"""


def knock(scene: Scene, pair: pki.Pair | None) -> str:
    """What the agent of host1 answers on the fabric to somebody with this certificate, or with none."""
    wish = {"cert": pair.certificate.read_text(), "key": pair.key.read_text()} if pair else {}
    done = scene.lab.exec("client1", ["python3", "-c", CALL], input=json.dumps(wish), check=True)
    return done.stdout.split()[0]


def test_who_may_speak_to_an_agent(still: Scene, tmp_path: Path) -> None:
    fleet, stranger = pki.ensure_authority(still.lab.places.pki), pki.new_authority()
    operator, long_ago = "segue://lab/operator/admin", datetime.now(UTC) - timedelta(days=30)
    day = timedelta(days=1)
    cases: list[tuple[str, pki.Authority, str, dict[str, Any]]] = [
        ("200", fleet, operator, {}),
        ("refused", fleet, operator, {"not_before": long_ago, "valid": day}),
        ("refused", stranger, operator, {}),
        ("403", fleet, "segue://lab/host/host2", {}),
        ("403", fleet, "https://example.com/", {}),
    ]
    for number, (answer, signer, uri, more) in enumerate(cases):
        pair = pki.Pair(tmp_path / f"{number}.pem", tmp_path / f"{number}.key")
        pki.issue(signer, pair, common_name="test", uri=uri, **more)
        assert knock(still, pair) == answer, (number, uri)
    assert knock(still, None) == "refused"
