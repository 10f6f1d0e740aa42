"""What a controller said of this host, and whom it barred, is there for the agent that opens the journal next."""

from __future__ import annotations

from pathlib import Path

from segue.adapters.store.journal import Journal
from segue.model.roster import Decided
from segue.model.trust import SignedBarred


def test_what_a_controller_decided_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", "boot")
    assert journal.decided() is None
    assert journal.barred() is None
    decided, signed = Decided(True, {"rack": "r1"}), SignedBarred("{}", "c2ln")
    journal.put_decided(decided)
    journal.put_barred(signed)
    journal.close()
    again = Journal(tmp_path / "journal.db", "another boot")
    assert (again.decided(), again.barred()) == (decided, signed)
