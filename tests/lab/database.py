"""Clients of a guest's database: pgbench at a steady rate, and a ledger that remembers every commit it was told of."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.lab.api import Lab

CLIENT: Final = "client1"
PACKAGES: Final = ("postgresql-17",)
PROGRAMS: Final = "/usr/lib/postgresql/17/bin"
LIMIT_S: Final = 240.0
BALANCES: Final = """
SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
       (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
       (SELECT count(*) FROM pgbench_history)
"""


class Server:
    """The database `bench` of one guest, asked from the client machine."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._lab = lab
        self._place = ("-h", address, "-U", "postgres")

    def wait(self, limit_s: float) -> None:
        """Returns when it answers."""
        again = f"until {PROGRAMS}/pg_isready -q {' '.join(self._place)}; do sleep 0.3; done"
        self._lab.exec(CLIENT, ["sh", "-c", again], timeout=limit_s, check=True)

    def ask(self, question: str) -> list[list[str]]:
        """The rows of an answer."""
        words = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", "bench", "-c", question]
        rows = self._run("psql", *words).stdout.splitlines()
        return [row.split("|") for row in rows]

    def check(self) -> None:
        """pg_amcheck over every table and index: nothing may be wrong."""
        done = self._run("pg_amcheck", "--heapallindexed", "--parent-check", "--database", "bench")
        assert (done.stdout, done.stderr) == ("", "")

    def arguments(self, program: str, *words: str) -> list[str]:
        """A program that talks to this server."""
        return [f"{PROGRAMS}/{program}", *self._place, *words]

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        done = self._lab.exec(CLIENT, self.arguments(program, *words), timeout=LIMIT_S)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done


@dataclass(frozen=True)
class Account:
    """What pgbench says at its end."""

    processed: int
    failed: int
    words: str


class Bench:
    """pgbench, running when it is made."""

    def __init__(self, lab: Lab, server: Server, folder: Path, rate_per_s: int) -> None:
        load = ("-n", "-c", "4", "-R", str(rate_per_s), "-T", "86400", "-P", "1", "--max-tries=1", "bench")
        self._lab, self._log = lab, folder / "pgbench"
        self._process = lab.popen(
            CLIENT,
            server.arguments("pgbench", *load),
            stdout=self._log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def account(self) -> Account:
        """Ends it between two transactions, as its own clock does when the time is over."""
        self._lab.exec(CLIENT, ["pkill", "-ALRM", "-x", "pgbench"], check=True)
        code = self._process.wait(LIMIT_S)
        words = self._log.read_text()
        assert code == 0, words[-3000:]
        return Account(
            _figure(r"transactions actually processed: (\d+)", words),
            _figure(r"failed transactions: (\d+)", words),
            words,
        )


class Ledger(threading.Thread):
    """Commits one number after another over one connection; `known` are those the server has acknowledged."""

    def __init__(self, lab: Lab, server: Server) -> None:
        super().__init__(name="ledger", daemon=True)
        server.ask("CREATE TABLE ledger (number bigint NOT NULL); CREATE INDEX ON ledger (number)")
        self.known: list[int] = []
        self.longest_s = 0.0
        self.failure = ""
        self._enough = threading.Event()
        words = ("-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", "bench")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._psql = lab.popen(CLIENT, server.arguments("psql", *words), text=True, bufsize=1, **pipes)

    def run(self) -> None:
        number = 0
        while not self._enough.is_set() and not self.failure:
            number += 1
            self._commit(number)

    def _commit(self, number: int) -> None:
        begun_s = time.monotonic()
        said = self._say(f"INSERT INTO ledger VALUES ({number}) RETURNING number;")
        self.longest_s = max(self.longest_s, time.monotonic() - begun_s)
        if said != str(number):
            self.failure = f"number {number}: {said!r}"
            return
        self.known.append(number)

    def _say(self, statement: str) -> str:
        talk_to, hear = self._psql.stdin, self._psql.stdout
        assert talk_to is not None
        assert hear is not None
        try:
            talk_to.write(f"{statement}\n")
            talk_to.flush()
            return str(hear.readline()).strip()
        except OSError as error:
            return os.strerror(error.errno or 0)

    def stop(self) -> None:
        """Ends it after the commit that is under way."""
        self._enough.set()
        self.join(LIMIT_S)
        assert not self.is_alive(), "a commit did not end"
        assert not self.failure, self.failure
        self._psql.communicate(timeout=LIMIT_S)


def _figure(pattern: str, words: str) -> int:
    found = re.search(pattern, words)
    assert found, words[-3000:]
    return int(found[1])
