"""The journal keeps what it was told, also for the agent that opens it next."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from segue.adapters.store.journal import Journal, Marks
from segue.errors import Refused
from segue.model.guest import Disk, Guest, Nic
from segue.model.handoff import Phase, Token
from segue.model.lifecycle import Event
from segue.model.migration import Limits, Migration, Outcome, after
from segue.model.trace import Arriving, Trace

GUEST = Guest(
    "web1",
    "uuid-1",
    1 << 28,
    disks=(Disk("disk0", "/d", "qcow2"),),
    nics=(Nic("nic0", "52:54:00:00:00:01", "br0"),),
)
TOKEN = Token(Phase.OWNER, 3, "", "m1")


def again(path: Path, boot: str = "boot-1") -> Journal:
    """What the next agent reads."""
    return Journal(path / "journal.db", boot)


def test_guest_and_token_survive_the_agent(tmp_path: Path) -> None:
    again(tmp_path).put_guest(GUEST, TOKEN, "running")
    journal = again(tmp_path)
    assert journal.guests() == [(GUEST, "running", "")]
    assert journal.token(GUEST.uuid) == TOKEN


def test_a_token_outlives_its_guest_as_a_tombstone(tmp_path: Path) -> None:
    journal = again(tmp_path)
    journal.put_guest(GUEST, TOKEN, "running")
    journal.put_token(GUEST.uuid, Token(Phase.ABSENT, 4))
    journal.drop_guest(GUEST.name)
    assert again(tmp_path).token(GUEST.uuid) == Token(Phase.ABSENT, 4)
    assert again(tmp_path).guests() == []


def test_a_guest_never_heard_of_is_absent(tmp_path: Path) -> None:
    assert again(tmp_path).token("nobody") == Token(Phase.ABSENT, 0)


def test_tokens_that_wait_for_an_answer_are_found(tmp_path: Path) -> None:
    journal = again(tmp_path)
    for number, phase in enumerate(Phase):
        journal.put_token(phase.value, Token(phase, number))
    assert set(journal.unsettled_tokens()) == {"incoming", "released"}


def test_after_a_boot_a_guest_counts_as_not_seen_running(tmp_path: Path) -> None:
    journal = again(tmp_path, "boot-1")
    journal.put_guest(GUEST, TOKEN, "stopped")
    assert again(tmp_path, "boot-1").ran_since_boot("web1")
    rebooted = again(tmp_path, "boot-2")
    assert not rebooted.ran_since_boot("web1")
    rebooted.ran("web1")
    assert again(tmp_path, "boot-2").ran_since_boot("web1")


@pytest.mark.parametrize("write", ["put_migration", "note_migration"])
def test_a_record_is_kept_whole(tmp_path: Path, write: str) -> None:
    outcome = Outcome(blackout_s=0.01, timeline=(("stopped", 0.001),))
    record = after(Migration("m1", "web1", "a", "b", Limits(), 5.0, outcome=outcome), Event.CONVERGED, 6.0)
    getattr(again(tmp_path), write)(record)
    assert again(tmp_path).migration("m") == record
    assert again(tmp_path).migrations() == [record]


def test_the_beginning_of_two_ids_is_nobody(tmp_path: Path) -> None:
    journal = again(tmp_path)
    for number in ("ma", "mb"):
        journal.put_migration(Migration(number, "web1", "a", "b", Limits(), 0.0))
    assert journal.migration("m") is None
    assert journal.migration("mb") is not None


def test_marks_come_back_in_order_and_go_with_their_migration(tmp_path: Path) -> None:
    told: list[str] = []
    journal = again(tmp_path)
    record = Migration("m1", "web1", "a", "b", Limits(), 0.0)
    journal.put_migration(record)
    marks = Marks(journal, "m1", told.append)
    marks.begun("one")
    marks.done("one")
    marks.undoing()
    marks.undone("one")
    kept = [("begun", "one"), ("done", "one"), ("undoing", ""), ("undone", "one")]
    assert Marks(again(tmp_path), "m1", told.append).marks() == kept
    assert told == ["begun one", "done one", "undoing", "undone one"]
    journal.put_migration(after(record, Event.FAILED, 1.0))
    journal.prune()
    assert again(tmp_path).marks("m1") == []


def test_a_damaged_journal_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Refused, match="journal"):
        again(tmp_path)
    assert (tmp_path / "journal.db").read_bytes().startswith(b"this is no database")


def test_a_journal_of_an_older_agent_gets_room_for_times(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "journal.db")
    old.execute("create table mark (n integer primary key, migration text, mark text, step text) strict")
    old.execute("insert into mark (migration, mark, step) values ('m1', 'begun', 'copy memory')")
    old.commit()
    old.close()
    begun_s = time.time()
    Marks(again(tmp_path), "m1", lambda _: None).done("copy memory")
    first, second = again(tmp_path).timed_marks("m1")
    assert (first.step, first.at_s) == ("copy memory", 0.0)
    assert (second.mark, begun_s <= second.at_s <= time.time()) == ("done", True)


def test_guests_that_come_in_are_remembered_until_they_are_told(tmp_path: Path) -> None:
    arriving = Arriving(Trace("a" * 32, "b" * 16, "c" * 16), "web1", "uuid-1", "m1", "host1", 100.0)
    again(tmp_path).traces.put(arriving)
    moved = replace(arriving, placed_s=101.0, marks=(("heard", 102.0), ("resumed", 102.01)))
    again(tmp_path).traces.put(moved)
    assert again(tmp_path).traces.all() == [moved]
    again(tmp_path).traces.drop("m1")
    assert again(tmp_path).traces.all() == []


def is_old(path: Path, boot: str = "boot-1") -> bool:
    """As the next agent finds it."""
    journal = again(path, boot)
    try:
        return journal.progress.keep_in(path / "journal-writes")
    finally:
        journal.close()


def put(source: Path, target: Path) -> None:
    """As who backs a database up, or puts the backup in its place."""
    for leftover in target.parent.glob(f"{target.name}*"):
        leftover.unlink()
    with (
        contextlib.closing(sqlite3.connect(source)) as one,
        contextlib.closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)


def test_an_older_journal_in_the_same_boot_is_known_by_what_was_written_since(tmp_path: Path) -> None:
    path, backup, newest = (tmp_path / name for name in ("journal.db", "backup.db", "newest.db"))
    journal = again(tmp_path)
    assert not journal.progress.keep_in(tmp_path / "journal-writes")
    journal.put_guest(GUEST, TOKEN, "running")
    put(path, backup)
    journal.put_token(GUEST.uuid, Token(Phase.RELEASED, 4, "host2", "m2"))
    journal.close()
    put(path, newest)
    assert not is_old(tmp_path), "the newest one"
    put(backup, path)
    assert is_old(tmp_path), "an older one"
    assert is_old(tmp_path), "and again, until somebody has accepted it"
    accepted = again(tmp_path)
    assert accepted.progress.keep_in(tmp_path / "journal-writes")
    accepted.progress.accept()
    accepted.close()
    assert not is_old(tmp_path)
    put(newest, path)
    assert is_old(tmp_path), "what was the newest is the older one now"
    assert not is_old(tmp_path, "boot-2"), "after a boot nothing starts unasked anyway"


def test_what_an_earlier_boot_wrote_beside_the_journal_counts_for_nothing(tmp_path: Path) -> None:
    beside = tmp_path / "journal-writes"
    beside.write_text(f"boot-of-a-long-name-{'x' * 40} 00000000000000000099")
    assert not again(tmp_path).progress.keep_in(beside)
    assert beside.read_text() == "boot-1 00000000000000000000"


def test_a_mark_is_never_ahead_of_a_write_that_failed(tmp_path: Path) -> None:
    beside = tmp_path / "journal-writes"
    journal = again(tmp_path)
    journal.progress.keep_in(beside)
    with pytest.raises(TypeError):
        journal.put_token(GUEST.uuid, object())  # type: ignore[arg-type]
    assert not again(tmp_path).progress.keep_in(beside)


def test_where_no_mark_can_be_written_the_token_is_kept_all_the_same(tmp_path: Path) -> None:
    journal = again(tmp_path)
    journal.progress.keep_in(tmp_path / "no such folder" / "journal-writes")
    journal.put_token(GUEST.uuid, TOKEN)
    assert again(tmp_path).token(GUEST.uuid) == TOKEN
