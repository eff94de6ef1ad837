"""What holds for every verdict: death is never concluded from too little."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Step
from hypothesis import strategies as st

from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec, Jump
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.replica import Generation
from fleetctl.model.snapshot import Phase, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, Sign
from fleetctl.plan import verdicts as judging
from fleetctl.plan.verdicts import verdicts
from tests.unit.plan.fleets import Fleet, instance

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from fleetctl.model.snapshot import Observation
    from fleetctl.model.verdict import HostVerdict

SHORT = settings(max_examples=500, deadline=None, derandomize=True)
NOW = Instant(1000.0)
DEAD = (Silence.SILENT, Silence.REFUSED, Silence.HUNG)

unreachables = st.builds(
    Unreachable,
    st.sampled_from([silence for silence in Silence if silence is not Silence.NEWER]),
    error=st.just("no answer"),
    tries=st.integers(0, 4),
)
questions = st.builds(
    Question,
    about=st.just("h1"),
    witness=st.sampled_from(["h2", "h3", "h4"]),
    address=st.just("10.0.0.1"),
    port=st.sampled_from([22, 8080]),
    kind=st.sampled_from(["banner", "http", "tcp"]),
    instance=st.just(instance("web.0@1").name),
    reached_before=st.booleans(),
)
answers = st.lists(st.builds(Answer, questions, st.sampled_from(list(Said))), max_size=6).map(tuple)
memories = st.builds(
    HostMemory,
    silent_runs=st.integers(0, 4),
    silent_since=st.sampled_from([None, Instant(0.0), Instant(939.0), Instant(999.0)]),
    instances=st.sampled_from([(), (instance("web.0@1"),), (instance("web.0@1", Phase.WAITING),)]),
    host_id=st.sampled_from(["", "ours"]),
    answered=st.sampled_from([None, True, False]),
    turns=st.lists(st.sampled_from([300.0, 500.0, 900.0, 999.0]).map(Instant), max_size=4).map(sorted).map(tuple),
)
reports = st.builds(
    lambda host_id, wallclock_s: Reachable(
        replace(Fleet.of("h1").machines["h1"].report(), host_id=host_id, wallclock_s=wallclock_s), "10.0.0.1"
    ),
    st.sampled_from(["", "ours", "another"]),
    st.sampled_from([0.0, 5.0, 1.7e9]),
)


def judge(seen: Observation, said: tuple[Answer, ...], known: HostMemory) -> HostVerdict:
    memory, nobody = Memory(Generation(1), {"h1": known}), Desired("test", (), ())
    return verdicts(nobody, Snapshot(NOW, {"h1": seen}), said, memory, NOW)["h1"]


def health(seen: Observation, said: tuple[Answer, ...], known: HostMemory) -> Health:
    return judge(seen, said, known).health


def lost_takes_enough(seen: Unreachable, said: tuple[Answer, ...], known: HostMemory) -> None:
    """Three tries, a layer that may mean death, no sign of life, and a witness or lasting silence."""
    if health(seen, said, known) is not Health.LOST:
        return
    assert seen.tries >= 3
    assert seen.silence in DEAD
    signs = [answer for answer in said if answer.said is Said.YES]
    assert all(answer.question.kind == "tcp" and seen.silence is Silence.HUNG for answer in signs)
    witnessed = any(answer.said is Said.NO and answer.question.reached_before for answer in said)
    lasting = known.silent_runs >= 2 and known.silent_since is not None and NOW - known.silent_since >= 60
    assert witnessed or lasting


def a_hung_host_is_lost_though_its_kernel_accepts(known: HostMemory, question: Question) -> None:
    """Whatever else is remembered: the word of a witness holds, and a bare connect does not speak against it."""
    never_turned = replace(known, turns=(), answered=None)
    asked = replace(question, kind="banner", reached_before=True)
    said = (Answer(asked, Said.NO), Answer(replace(question, kind="tcp"), Said.YES))
    assert health(Unreachable(Silence.HUNG, "no banner", 3), said, never_turned) is Health.LOST


@SHORT
@given(unreachables, answers, memories)
def test_lost_takes_three_tries_no_sign_of_life_and_a_witness_or_lasting_silence(seen, said, known):
    lost_takes_enough(seen, said, known)


def the_word_of_strangers_proves_no_death(seen: Unreachable, said: tuple[Answer, ...], known: HostMemory) -> None:
    strangers = tuple(replace(one, question=replace(one.question, reached_before=False)) for one in said)
    assert health(seen, strangers, replace(known, silent_runs=0)) is Health.SUSPECT


@SHORT
@given(unreachables, answers, memories)
def test_the_word_of_strangers_proves_no_death(seen, said, known):
    the_word_of_strangers_proves_no_death(seen, said, known)


@SHORT
@given(memories, questions)
def test_a_hung_host_is_lost_though_its_kernel_accepts(known, question):
    a_hung_host_is_lost_though_its_kernel_accepts(known, question)


@SHORT
@given(unreachables, answers, memories, questions)
def test_one_more_sign_of_life_never_makes_a_host_lost(seen, said, known, question):
    sign = Answer(replace(question, kind="banner"), Said.YES)
    assert health(seen, (*said, sign), known) is Health.SUSPECT


@SHORT
@given(unreachables, answers, memories, st.data())
def test_a_witness_less_that_says_no_never_makes_a_host_lost(seen, said, known, data):
    """But for the last that had reached it before: where none is left, lasting silence may speak."""
    denials = [answer for answer in said if answer.said is Said.NO]
    if not denials or health(seen, said, known) is Health.LOST:
        return
    gone = data.draw(st.sampled_from(denials))
    left = tuple(answer for answer in said if answer is not gone)
    if any(answer.question.reached_before for answer in left) or not gone.question.reached_before:
        assert health(seen, left, known) is not Health.LOST


@SHORT
@given(unreachables, answers, memories)
def test_fewer_tries_never_make_a_host_lost(seen, said, known):
    assert health(replace(seen, tries=min(seen.tries, 2)), said, known) is Health.SUSPECT


@SHORT
@given(reports, answers, memories)
def test_a_host_that_answers_is_never_lost(seen, said, known):
    assert health(seen, said, known) is not Health.LOST


@SHORT
@given(answers, memories)
def test_a_host_that_refuses_us_for_being_older_is_never_lost_nor_broken(said, known):
    """And suspect only where it came and went before."""
    seen = Unreachable(Silence.NEWER, "driven by fleetctl 0.3.0; this is 0.1.0", 1)
    verdict = judge(seen, said, known)
    assert verdict.health is Health.HEALTHY or verdict.sign is Sign.FLAPPING


@SHORT
@given(st.one_of(unreachables, reports), answers, memories)
def test_only_a_healthy_host_shows_no_sign(seen, said, known):
    verdict = judge(seen, said, known)
    assert (verdict.sign is Sign.NONE) == (verdict.health is Health.HEALTHY)
    assert verdict.evidence


@SHORT
@given(unreachables, answers, memories)
def test_three_changes_in_ten_minutes_are_never_lost(seen, said, known):
    turns = (Instant(500.0), Instant(600.0), Instant(700.0))
    assert health(seen, said, replace(known, turns=turns)) is Health.SUSPECT


@SHORT
@given(st.lists(unreachables, min_size=1, max_size=4), st.lists(memories, min_size=4, max_size=4), answers)
def test_hosts_behind_one_path_that_all_fail_are_never_lost(seen, known, said):
    names = [f"h{number}" for number in range(1, len(seen) + 1)]
    desired = Desired("test", tuple(HostSpec(name, name, jumps=(Jump("bastion"),)) for name in names), ())
    memory = Memory(Generation(1), dict(zip(names, known, strict=False)))
    about = tuple(replace(one, question=replace(one.question, about=name)) for one in said for name in names)
    judged = verdicts(desired, Snapshot(NOW, dict(zip(names, seen, strict=True))), about, memory, NOW)
    assert {verdict.health for verdict in judged.values()} == {Health.SUSPECT}


@SHORT
@given(unreachables, answers, memories, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(seen, said, known, chance: random.Random):
    assert judge(seen, tuple(chance.sample(said, len(said))), known) == judge(seen, said, known)


# the nets hold: each mutant breaks one decision, and a property above catches it


def witness_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(judging, "signs_of_life", lambda *_: "")


def everybody_is_a_witness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(judging, "denials", lambda answers: [one for one in answers if one.said is Said.NO])


def tcp_counted_on_a_hung_host(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(judging, "proves_life", lambda *_: True)


def tries_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(judging, "tried_enough", lambda *_: True)


def silence_need_not_last(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(judging, "has_lasted", lambda *_: True)


MUTANTS = [
    witness_ignored,
    everybody_is_a_witness,
    tcp_counted_on_a_hung_host,
    tries_not_counted,
    silence_need_not_last,
]
SEARCH = settings(SHORT, database=None, phases=[Step.generate], suppress_health_check=list(HealthCheck))


def find_a_wrong_verdict() -> None:
    SEARCH(given(unreachables, answers, memories)(lost_takes_enough))()
    SEARCH(given(unreachables, answers, memories)(the_word_of_strangers_proves_no_death))()
    SEARCH(given(memories, questions)(a_hung_host_is_lost_though_its_kernel_accepts))()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_verdicts_with_this_defect_are_caught(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        find_a_wrong_verdict()


def test_the_verdicts_themselves_pass_the_same_search():
    find_a_wrong_verdict()
