"""The whole story of one host, for whoever is woken by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.model.host import Jump
from fleetctl.model.instant import Instant
from fleetctl.model.memory import Cordon, HostMemory
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.snapshot import Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, HostVerdict, Sign
from fleetctl.plan.explain import Explanation, cordon_text, explain, remedy, span
from fleetctl.plan.verdicts import verdicts
from tests.unit.plan.fleets import Fleet, instance

NOW = Instant(5000.0)


def story(seen: Unreachable | None = None, *answers: Answer, known: HostMemory | None = None, **more) -> Explanation:
    """h1's, of three hosts, judged as they are; absent `seen`: it answers."""
    fleet = Fleet.of("h1", "h2", "h3")
    desired = replace(fleet.desired(), **more.get("desired", {}))
    hosts = fleet.snapshot().hosts
    snapshot = Snapshot(NOW, {**hosts, "h1": seen or Reachable(fleet.machines["h1"].report(), "10.0.0.1")})
    known_hosts = {} if known is None else {"h1": known}
    memory = replace(fleet.memory(), hosts=known_hosts, cordons=more.get("cordons", {}))
    judged = verdicts(desired, snapshot, answers, memory, NOW)
    return explain("h1", desired, snapshot, answers, memory, judged, NOW)


def part(told: Explanation, title: str) -> str:
    return "\n".join(next(one.lines for one in told.parts if one.title == title))


def silent(silence: Silence = Silence.SILENT, *, tries: int = 3) -> Unreachable:
    return Unreachable(silence, "no answer from 10.0.0.1", tries, hint="try it by hand: ssh 10.0.0.1")


def said(word: Said, *, reached: bool = True, kind: str = "banner") -> Answer:
    name = instance("web.0@3").name if kind != "banner" else None
    return Answer(Question("h1", "h2", "10.0.0.1", 22, kind, instance=name, reached_before=reached), word)


EVERY_STATE = [
    story(),
    story(silent()),
    story(silent(), said(Said.YES)),
    story(silent(), said(Said.NO)),
    story(silent(), said(Said.NOTHING)),
    story(silent(Silence.REFUSED), said(Said.NO)),
    story(silent(Silence.HUNG), said(Said.NO, reached=False)),
    *(story(silent(silence, tries=1)) for silence in (Silence.LOGIN, Silence.HOST_KEY, Silence.AGENT, Silence.JUMP)),
    story(known=HostMemory(host_id="old", answered=False, turns=(NOW, NOW, NOW))),
]


@pytest.mark.parametrize("told", EVERY_STATE, ids=lambda told: f"{told.verdict.health.value} {told.verdict.sign.value}")
def test_every_question_has_an_answer_in_every_state(told):
    assert [one.title for one in told.parts] == [
        "tried now",
        "witnesses",
        "earlier runs",
        "began or ceased to answer",
        "path",
        "set by people",
        "what runs there",
        "what would change the verdict",
    ]
    assert all(one.lines and all(one.lines) for one in told.parts)


def test_what_was_tried_and_what_came():
    assert part(story(silent()), "tried now") == (
        "3 tries: silent: no answer from 10.0.0.1\ntry it by hand: ssh 10.0.0.1"
    )
    assert part(story(silent(Silence.LOGIN, tries=1)), "tried now").startswith("1 try: login failed: ")
    assert part(story(), "tried now") == "it answered from 10.0.0.1: its agent gave report 1 of boot boot"


@pytest.mark.parametrize(("word", "heard"), [(Said.YES, "got it"), (Said.NO, "got nothing"),
                                             (Said.NOTHING, "could not be asked")])  # fmt: skip
def test_each_witness_and_whether_it_had_reached_the_host_before(word, heard):
    assert part(story(silent(), said(word)), "witnesses") == (
        f"h2, asked for its SSH banner at 10.0.0.1 port 22: {heard}; it had reached it before"
    )
    assert part(story(silent(), said(word, reached=False, kind="http")), "witnesses") == (
        f"h2, asked for web.0@3's http probe at 10.0.0.1 port 22: {heard}; "
        "it never reached it before, so a no proves nothing"
    )


def test_earlier_runs_and_what_was_believed_then():
    was = HostVerdict(Health.SUSPECT, "silent", Instant(NOW - 600.0), Sign.SILENT)
    known = HostMemory(silent_runs=3, silent_since=Instant(NOW - 45.0), verdict=was)
    told = story(silent(), known=known)
    assert part(told, "earlier runs") == (
        "last believed: suspect, from 10 min ago on: silent\n"
        "silent in 3 runs in a row before this one, the first 45 s ago"
    )
    assert told.since_s == 600.0
    assert part(story(), "earlier runs") == "it was never looked at before"


def test_the_changes_of_the_last_ten_minutes():
    known = HostMemory(answered=True, turns=(Instant(NOW - 540.0), Instant(NOW - 30.0)))
    told = part(story(silent(), known=known), "began or ceased to answer")
    assert told == "3 of 3 changes in 10 min: 9 min ago, 30 s ago, 0 s ago"


def test_the_path_and_who_else_is_behind_it():
    fleet = Fleet.of("h1", "h2", "h3")
    jumps = (Jump("bastion", user="ops"),)
    hosts = tuple(replace(host, jumps=jumps if host.name != "h3" else ()) for host in fleet.desired().hosts)
    told = part(story(silent(), desired={"hosts": hosts}), "path")
    assert told == "through ops@bastion to 10.0.0.1 port 22\nbehind it too: h2 answers"
    assert part(story(), "path") == "directly to 10.0.0.1 port 22"


def test_what_people_set():
    cordons = {"h1": Cordon("ann", 0.0, "disk swap")}
    told = part(story(cordons=cordons, desired={"gone": frozenset({"h1"})}), "set by people")
    assert told.splitlines()[0] == "cordoned by ann: disk swap"
    assert told.splitlines()[1].startswith("gone from the inventory")
    assert cordon_text(Cordon("ann", 0.0, drains=True)) == "draining, by ann"


def test_what_runs_there_or_last_did():
    known = HostMemory(instances=(instance("web.0@3"),), behind=frozenset({"db"}))
    assert part(story(silent(), known=known), "what runs there") == (
        "web.0@3, last known as ready, release 1\nbehind: db was deployed while it was silent"
    )


@pytest.mark.parametrize(
    ("told", "outlook"),
    [
        (story(), "three tries that fail in one run"),
        (story(silent(), said(Said.NO)), "one answer, to us or to a witness"),
        (story(silent(), said(Said.YES)), "only once no witness gets anything"),
        (story(silent(), said(Said.NOTHING)), "once a witness that has reached it before can be asked"),
        (story(silent(Silence.REFUSED)), "an instance that was ready there"),
        (story(silent(Silence.LOGIN, tries=1)), "once it lets us in"),
        (story(silent(Silence.HOST_KEY, tries=1)), "once its key is known"),
        (story(silent(Silence.AGENT, tries=1)), "once its agent reports"),
        (story(silent(Silence.JUMP)), "once another host behind the same path answers"),
        (story(known=HostMemory(answered=False, turns=(NOW, NOW))), "fewer than 3 changes lie within 10 min"),
    ],
)
def test_what_would_change_the_verdict(told, outlook):
    assert outlook in part(told, "what would change the verdict")


def test_a_silent_host_without_a_witness_says_how_far_it_is_from_lost():
    known = HostMemory(silent_runs=1, silent_since=Instant(NOW - 35.0))
    assert part(story(silent(), known=known), "what would change the verdict") == (
        "an answer makes it healthy\n"
        "it counts as lost once it was silent in 2 earlier runs, the first 60 s ago: 1 so far, 35 s"
    )


def test_what_the_outlook_promises_comes_true():
    """One more run, and a minute of silence, make it lost."""
    known = HostMemory(silent_runs=2, silent_since=Instant(NOW - 60.0))
    assert story(silent(), known=known).verdict.health is Health.LOST


def test_the_remedy_of_a_host_that_answers_is_in_its_sign():
    identity = HostVerdict(Health.SUSPECT, "", NOW, Sign.IDENTITY)
    clock = HostVerdict(Health.BROKEN, "", NOW, Sign.CLOCK)
    assert remedy("h1", identity, None) == "if that is right: fleetctl hosts --forget h1"
    assert "timedatectl" in remedy("h1", clock, None)
    assert remedy("h1", HostVerdict(Health.SUSPECT, "", NOW, Sign.SILENT), silent()) == "try it by hand: ssh 10.0.0.1"


def test_a_host_that_was_not_looked_at_has_no_story():
    fleet = Fleet.of("h1")
    with pytest.raises(KeyError):
        explain("h1", fleet.desired(), Snapshot(NOW, {}), (), fleet.memory(), {}, NOW)


@pytest.mark.parametrize(("seconds", "told"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"),
                                               (7200, "2 h"), (172800, "2 d")])  # fmt: skip
def test_spans(seconds, told):
    assert span(seconds) == told
