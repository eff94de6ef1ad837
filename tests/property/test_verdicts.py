"""What holds for every verdict: death is never concluded from too little."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.model.desired import Desired
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.replica import Generation
from fleetctl.model.snapshot import Phase, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health
from fleetctl.plan.verdicts import verdicts
from tests.unit.plan.fleets import instance

if TYPE_CHECKING:
    import random

SHORT = settings(max_examples=500, deadline=None, derandomize=True)
NOW = Instant(1000.0)
NOBODY = Desired("test", (), ())

unreachables = st.builds(
    Unreachable, st.sampled_from(list(Silence)), error=st.just("no answer"), tries=st.integers(0, 4)
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
)


def health(seen: Unreachable, said: tuple[Answer, ...], known: HostMemory) -> Health:
    snapshot = Snapshot(NOW, {"h1": seen})
    return verdicts(NOBODY, snapshot, said, Memory(Generation(1), {"h1": known}), NOW)["h1"].health


@SHORT
@given(unreachables, answers, memories)
def test_lost_takes_three_tries_no_sign_of_life_and_a_witness_or_lasting_silence(seen, said, known):
    if health(seen, said, known) is not Health.LOST:
        return
    assert seen.tries >= 3
    assert seen.silence in (Silence.SILENT, Silence.REFUSED, Silence.HUNG)
    signs = [answer for answer in said if answer.said is Said.YES]
    assert all(answer.question.kind == "tcp" and seen.silence is Silence.HUNG for answer in signs)
    witnessed = any(answer.said is Said.NO and answer.question.reached_before for answer in said)
    lasting = known.silent_runs >= 2 and known.silent_since is not None and NOW - known.silent_since >= 60
    assert witnessed or lasting


@SHORT
@given(unreachables, answers, memories, questions)
def test_one_more_sign_of_life_never_makes_a_host_lost(seen, said, known, question):
    sign = Answer(replace(question, kind="banner"), Said.YES)
    assert health(seen, (*said, sign), known) is Health.SUSPECT


@SHORT
@given(unreachables, answers, memories)
def test_fewer_tries_never_make_a_host_lost(seen, said, known):
    assert health(replace(seen, tries=min(seen.tries, 2)), said, known) is Health.SUSPECT


@SHORT
@given(unreachables, answers, memories, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(seen, said, known, chance: random.Random):
    shuffled = tuple(chance.sample(said, len(said)))
    memory, snapshot = Memory(Generation(1), {"h1": known}), Snapshot(NOW, {"h1": seen})
    assert verdicts(NOBODY, snapshot, shuffled, memory, NOW) == verdicts(NOBODY, snapshot, said, memory, NOW)
