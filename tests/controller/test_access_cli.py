"""What an admin types to give access, look, and take it away, against a real controller."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from tests.controller.rig import Rig
from tests.controller.toy import GIB


class Shell:
    """`segue` with a context file of its own."""

    def __init__(self, rig: Rig, token: str = "") -> None:
        self._path = rig.path / f"context{len(token)}.toml"
        lines = ["[controller]", f"urls = {json.dumps(list(rig.urls()))}"]
        lines += [f'token = "{token}"'] * bool(token)
        pair = rig.folder.admin
        tls = {"ca": rig.folder.ca, "cert": pair.certificate, "key": pair.key}
        lines += ["[tls]", *(f'{key} = "{path}"' for key, path in tls.items())]
        self._path.write_text("\n".join(lines) + "\n")

    async def run(self, *argv: str, code: int = 0) -> str:
        """stdout, or stderr where it is to fail."""

        def call() -> subprocess.CompletedProcess[str]:
            env = {**os.environ, "SEGUE_CONTEXT": str(self._path)}
            return subprocess.run(
                [sys.executable, "-m", "segue", *argv], env=env, capture_output=True, text=True, check=False
            )

        done = await asyncio.to_thread(call)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    async def data(self, *argv: str) -> Any:
        return json.loads(await self.run(*argv, "-o", "json"))


async def test_access_from_its_beginning_to_its_end(rig: Rig) -> None:
    rig.start()
    host = await rig.host("host1")
    await rig.host("host2")
    host.add("web1", GIB // 4)
    host.add("db1", GIB // 4)
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == 2)
    admin = Shell(rig)
    await admin.run("vm", "label", "web1", "team=web")
    made = await admin.run(
        "token", "create", "--role", "operator", "--name", "olga", "--scope", "team=web", "--ttl", "1h"
    )
    assert "team=web" in await admin.run("token", "list")
    olga = Shell(rig, made.strip())
    assert [guest["name"] for guest in await olga.data("vm", "list")] == ["web1"]
    assert "there is no guest db1" in await olga.run("migrate", "db1", "--to", "host2", code=3)
    assert "is for callers without a scope" in await olga.run("vm", "label", "web1", "team=db", code=6)
    await admin.run("cert", "revoke", "operator:olga", "--why", "she left")
    assert "she left" in await olga.run("vm", "list", code=6)
    assert [bar["who"] for bar in await admin.data("cert", "list")] == ["operator:olga"]
    lines = await admin.data("audit", "list", "--since", "1h", "--who", "olga")
    assert any(line["outcome"].startswith("refused: ") for line in lines)
    assert await admin.data("audit", "list", "--since", "1h", "--who", "nobody-of-that-name") == []
    await admin.run("cert", "allow", "operator:olga")
    await olga.run("vm", "list")
    await admin.run("host", "revoke", "host2")
    states = {each["name"]: each["state"] for each in await admin.data("host", "list")}
    assert states == {"host1": "up", "host2": "removed"}
    assert "nobody" in await admin.run("cert", "revoke", "who?", code=2)
