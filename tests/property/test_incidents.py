"""Whatever a fleet's nights are like: every trouble is told, once, and its end at most once; never fifty messages."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.model.plan import Held, HeldKind
from fleetctl.model.verdict import Health, Sign
from tests.unit.plan.fleets import names
from tests.unit.plan.test_incidents import Night

HOSTS = 8
ILL = st.sampled_from([(Health.LOST, Sign.SILENT), (Health.SUSPECT, Sign.HOST_KEY), (Health.SUSPECT, Sign.FLAPPING)])
JOBS = st.sampled_from([f"job{number}.0" for number in range(6)])


@st.composite
def plans(draw: st.DrawFn) -> tuple[dict[str, tuple[Health, Sign]], list[Held]]:
    bad = draw(st.dictionaries(st.sampled_from(names(HOSTS)), ILL, max_size=draw(st.sampled_from([0, 1, 2, HOSTS]))))
    if len(bad) * 100 >= 55 * HOSTS:
        return bad, [Held("test", HeldKind.TOO_MUCH_LOST, f"{len(bad)} of {HOSTS}")]
    held = [Held(name, HeldKind.NO_ROOM, "no room") for name in draw(st.sets(JOBS))]
    if max(Counter(sign for _, sign in bad.values()).values(), default=0) >= 3:
        held.append(Held("test", HeldKind.COMMON_CAUSE, "three alike"))
    return bad, held


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(plans(), max_size=12))
def test_every_trouble_is_told_once_and_its_end_at_most_once(nights):
    night = Night(HOSTS)
    open_now: set[tuple[str, str]] = set()
    for bad, held in nights:
        told = [*night.plan(bad, held, ended=False), *night.plan(bad, held)]
        night.now_wall += 60.0
        assert len(told) <= 3 * 3 + len([message for message in told if message.event == "end"]), "one for many"
        for message in told:
            key = (message.incident.kind, message.incident.subject)
            assert (key in open_now) == (message.event == "end")
            open_now ^= {key}
        covered = {name for one in night.incidents for name in (one.subject, *one.members)}
        assert set(bad) <= covered
        if len(bad) * 100 < 55 * HOSTS:
            assert {one.subject.partition(".")[0] for one in held if one.kind is HeldKind.NO_ROOM} <= covered
    assert open_now == {(one.kind, one.subject) for one in night.incidents}
    night.plan()
    assert night.incidents == (), "all is well"
