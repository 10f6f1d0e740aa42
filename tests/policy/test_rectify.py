"""A host passes only where nothing that bears on guests fails, or is worse; a guest's word is read whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.health import Health, Kind, Level, Reason, Verdict
from segue.model.verification import Check, Said, Verification
from segue.policy import burn_in, health, rectify

kinds = st.sampled_from([Kind.MEMORY, Kind.DISK, Kind.PRESSURE, Kind.GUEST])


def verdict(name: str, kind: Kind, level: Level, *, memory: bool = False) -> Verdict:
    text = f"it was failing, and {health.NOT_MENDED}" if memory else "now"
    reasons = (Reason("r", level, text, "here", 1.0, 1.0, 1.0),) if level is not Level.HEALTHY else ()
    return Verdict(f"{kind}/{name}", kind, name, level, reasons=reasons)


verdicts = st.builds(verdict, st.sampled_from("ab"), kinds, st.sampled_from(Level), memory=st.booleans())
healths = st.lists(verdicts, max_size=5, unique_by=lambda v: v.part).map(
    lambda parts: Health("h", Level.HEALTHY, 0.0, "", tuple(parts))
)


@given(healths, healths)
def test_nothing_failing_and_nothing_worse_passes(before: Health, now: Health) -> None:
    found = rectify.against([before], [now])
    was = {part.part: part.level.rank for part in before.parts}
    for part in now.parts:
        bears = health.bearing(part, now.parts)
        bad = bears is Level.FAILING or (bears is Level.SUSPECT and part.level.rank > was.get(part.part, 0))
        assert any(text.startswith(f"{part.part} ") for text in found) is bad


@given(healths)
def test_only_what_is_mere_memory_is_forgotten(seen: Health) -> None:
    by_name = {part.part: part for part in seen.parts}
    for name in rectify.remembered(seen):
        assert by_name[name].level is not Level.HEALTHY
        assert all(health.NOT_MENDED in reason.text for reason in by_name[name].reasons)


@given(
    st.lists(st.sampled_from(["ok", "bad 3", "bad: no answer"]), max_size=9),
    st.text("segu-burnik \n", max_size=30),
)
def test_a_guests_word_is_counted_and_noise_is_not(words: list[str], noise: str) -> None:
    console = (
        noise + "\n" + "".join(f"segue-burn-in {word}\r\n{noise}\n" for word in words) + "segue-burn-in o"
    )
    said = burn_in.said(console)
    assert said.good == words.count("ok")
    assert bool(said.bad) == any(word != "ok" for word in words)
    assert bool(burn_in.against(said, 1)) == (bool(said.bad) or said.good < 1)
    assert burn_in.against(Said(0), 1)


def test_a_host_is_shunned_while_it_is_looked_at_and_closed_where_it_failed() -> None:
    begun = Verification("h", 0.0, "me", ok=False)
    assert not rectify.taint(begun).hard
    assert rectify.taint(
        Verification("h", 0.0, "me", ok=False, checks=(Check("burn-in", False, "bad"),))
    ).hard
