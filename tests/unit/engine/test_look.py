"""Three tries, two seconds apart, and what the peers say meanwhile: on modelled links in virtual time."""

import asyncio
from dataclasses import dataclass, field

import pytest

from fleetctl.engine.links import Links
from fleetctl.engine.look import look
from fleetctl.errors import FleetctlError, UnansweredError
from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.replica import Generation
from fleetctl.model.resources import Bytes, MilliCpu
from fleetctl.model.snapshot import Facts, Guard, HostReport, Reach, Reachable, Silence, Unreachable
from fleetctl.model.unreachable import UnreachableError
from tests.unit.engine.virtual import LoopClock, run_virtually

FACTS = Facts(MilliCpu(4000), Bytes(1 << 30), Bytes(1 << 30), Bytes(1 << 30))


@dataclass
class ModelLink:
    name: str
    said: Said = Said.NO
    asked: list = field(default_factory=list)
    closed: bool = False
    address: str = "10.0.0.1"

    dead: bool = False
    takes_s: float = 0.0

    def dies(self):
        self.dead = True

    async def observe(self):
        if self.dead:
            raise UnansweredError(self.name, "the connection was lost")
        reach = tuple(Reach(f"h{n}", f"10.0.0.{n}", 22, ok=True) for n in range(1, 6))
        return HostReport(1, "boot", Guard(Generation(0), ""), FACTS, reach=reach)

    async def probe(self, questions):
        self.asked += questions
        await asyncio.sleep(self.takes_s)
        return tuple(Answer(question, self.said) for question in questions)

    async def close(self):
        self.closed = True


class ModelFleet:
    """Dials by script: per host what each try meets and how long that takes; hosts without one answer at once."""

    def __init__(self, **scripts):
        self.scripts = {name: list(script) for name, script in scripts.items()}
        self.dialled: dict[str, list[float]] = {}
        self.links: dict[str, ModelLink] = {}
        self.witness_takes_s = 0.0

    async def dial(self, host, on_banner):
        loop = asyncio.get_running_loop()
        self.dialled.setdefault(host.name, []).append(loop.time())
        script = self.scripts.get(host.name, [])
        takes_s, meets = script.pop(0) if script else (0.01, "answers")
        if meets == "banner, then answers":
            on_banner()
        await asyncio.sleep(takes_s)
        if isinstance(meets, Silence):
            raise UnreachableError(host.name, meets, f"{meets.value} after {takes_s} s")
        link = ModelLink(host.name, takes_s=self.witness_takes_s)
        self.links[host.name] = link
        return link

    async def redial(self, host):
        return await self.dial(host, lambda: None)

    def look(self, *, hosts=3, known=None, links=None, answers=()):
        specs = tuple(HostSpec(f"h{n}", f"10.0.0.{n}") for n in range(1, hosts + 1))
        memory = Memory(Generation(1), {spec.name: HostMemory(last_address=spec.address) for spec in specs})
        links = links or Links(self.dial, self.redial)
        wanted = Desired("test", specs, ())
        return look(wanted, memory, links, LoopClock(), lambda _: None, known=known or {}, answers=answers)


def test_a_silent_host_is_tried_three_times_started_two_seconds_apart():
    fleet = ModelFleet(h2=[(2.0, Silence.SILENT)] * 3)
    seen = run_virtually(fleet.look())
    assert fleet.dialled["h2"] == [0.0, 2.0, 4.0]
    assert seen.snapshot.hosts["h2"] == Unreachable(Silence.SILENT, "silent after 2.0 s", tries=3)
    assert seen.snapshot.at == pytest.approx(6.0)


def test_a_hung_hosts_tries_overlap_so_that_the_verdict_comes_after_seven_seconds():
    fleet = ModelFleet(h2=[(3.0, Silence.HUNG)] * 3)
    seen = run_virtually(fleet.look())
    assert fleet.dialled["h2"] == [0.0, 2.0, 4.0]
    assert seen.snapshot.at == pytest.approx(7.0)


def test_a_host_that_answers_the_second_try_is_reachable():
    fleet = ModelFleet(h2=[(2.0, Silence.SILENT), (0.1, "answers")])
    seen = run_virtually(fleet.look())
    assert isinstance(seen.snapshot.hosts["h2"], Reachable)
    assert seen.snapshot.at < 2.2


@pytest.mark.parametrize("answer", [Silence.LOGIN, Silence.HOST_KEY, Silence.AGENT])
def test_a_host_that_says_no_is_asked_once(answer):
    fleet = ModelFleet(h2=[(0.1, answer)])
    seen = run_virtually(fleet.look())
    assert fleet.dialled["h2"] == [0.0]
    assert seen.snapshot.hosts["h2"].silence is answer
    assert seen.snapshot.at < 1.0, "nobody waits for tries that are not made"


def test_a_jump_host_that_can_not_be_passed_is_tried_three_times_and_speaks_for_all_tries():
    fleet = ModelFleet(h2=[(2.0, Silence.SILENT), (0.1, Silence.JUMP), (2.0, Silence.REFUSED)])
    seen = run_virtually(fleet.look())
    assert fleet.dialled["h2"] == [0.0, 2.0, 4.0]
    assert (seen.snapshot.hosts["h2"].silence, seen.snapshot.hosts["h2"].tries) == (Silence.JUMP, 3)


def test_a_host_whose_jump_host_comes_back_meanwhile_is_reached():
    fleet = ModelFleet(h2=[(0.1, Silence.JUMP), (0.1, "answers")])
    assert isinstance(run_virtually(fleet.look()).snapshot.hosts["h2"], Reachable)


class Sleeping(ModelFleet):
    """This machine sleeps, or is stopped, while it dials h1: the first time, or each time."""

    def __init__(self, *, for_s, times, **scripts):
        super().__init__(**scripts)
        self.for_s, self.times = for_s, times

    async def dial(self, host, on_banner):
        if host.name == "h1" and self.times:
            self.times -= 1
            asyncio.get_running_loop()._jump.now += self.for_s  # no timer rings meanwhile
        return await super().dial(host, on_banner)


def test_a_look_that_was_suspended_midway_is_dropped_and_made_again():
    fleet = Sleeping(for_s=11.0, times=1, h2=[(2.0, Silence.SILENT)] * 3)
    seen = run_virtually(fleet.look())
    assert len(fleet.dialled["h2"]) == 4, "three tries that prove nothing, and the one of the look that counts"
    assert isinstance(seen.snapshot.hosts["h2"], Reachable)


def test_a_short_pause_changes_nothing():
    fleet = Sleeping(for_s=8.0, times=1, h2=[(2.0, Silence.SILENT)] * 3)
    assert run_virtually(fleet.look()).snapshot.hosts["h2"].tries == 3


def test_a_machine_that_sleeps_each_time_decides_nothing():
    fleet = Sleeping(for_s=20.0, times=99, h1=[(0.1, Silence.LOGIN)] * 99)
    with pytest.raises(FleetctlError, match="stood still for over 10 s"):
        run_virtually(fleet.look())


def test_a_slow_login_is_not_dialled_again():
    fleet = ModelFleet(h2=[(8.0, "banner, then answers")])
    seen = run_virtually(fleet.look())
    assert fleet.dialled["h2"] == [0.0]
    assert isinstance(seen.snapshot.hosts["h2"], Reachable)


def test_witnesses_are_asked_when_the_second_try_starts_and_not_later():
    fleet = ModelFleet(h2=[(2.0, Silence.SILENT)] * 3)
    seen = run_virtually(fleet.look())
    asked = [question for link in fleet.links.values() for question in link.asked]
    assert {question.about for question in asked} == {"h2"}
    assert {question.witness for question in asked} == {"h1", "h3"}
    assert len(seen.answers) == len(asked)


def test_a_witness_that_logs_us_in_slowly_is_asked_before_the_verdict():
    slow = [(3.0, "banner, then answers")]
    fleet = ModelFleet(h1=slow, h2=[(2.0, Silence.SILENT)] * 3, h3=slow)
    seen = run_virtually(fleet.look())
    assert {answer.question.witness for answer in seen.answers} == {"h1", "h3"}
    assert all(answer.question.reached_before and answer.said is Said.NO for answer in seen.answers)


def test_three_witnesses_that_answered_in_time_are_enough():
    fleet = ModelFleet(h1=[(3.0, "banner, then answers")], h2=[(2.0, Silence.SILENT)] * 3)
    seen = run_virtually(fleet.look(hosts=5))
    assert sorted(answer.question.witness for answer in seen.answers) == ["h3", "h4", "h5"]


def test_no_witness_is_asked_about_a_host_that_is_logging_us_in():
    fleet = ModelFleet(h2=[(5.0, "banner, then answers")])
    run_virtually(fleet.look())
    assert not [question for link in fleet.links.values() for question in link.asked]


def test_where_all_answer_at_once_nobody_waits_for_the_second_try():
    seen = run_virtually(ModelFleet().look())
    assert seen.snapshot.at < 0.1


def test_where_tries_differ_the_most_cautious_layer_speaks():
    tries = [(2.0, Silence.SILENT), (0.1, Silence.REFUSED), (2.0, Silence.SILENT)]
    seen = run_virtually(ModelFleet(h2=tries).look())
    assert seen.snapshot.hosts["h2"].silence is Silence.REFUSED
    assert seen.snapshot.hosts["h2"].tries == 3


def test_a_host_that_was_silent_in_this_run_is_not_tried_again():
    fleet = ModelFleet()
    known = {"h2": Unreachable(Silence.SILENT, "silent", tries=3)}
    seen = run_virtually(fleet.look(known=known))
    assert "h2" not in fleet.dialled
    assert seen.snapshot.hosts["h2"] == known["h2"]


def test_a_host_that_dies_between_two_looks_is_judged_like_any_silent_one():
    fleet = ModelFleet()

    async def twice():
        links = Links(fleet.dial, fleet.redial)
        await fleet.look(links=links)
        fleet.links["h2"].dies()
        fleet.scripts["h2"] = [(2.0, Silence.SILENT)] * 3
        return await fleet.look(links=links)

    assert run_virtually(twice()).snapshot.hosts["h2"] == Unreachable(Silence.SILENT, "silent after 2.0 s", tries=3)


def test_an_order_without_an_answer_is_repeated_on_a_fresh_link():
    fleet = ModelFleet()
    asked = []

    async def order(link):
        asked.append(link)
        if len(asked) == 1:
            raise UnansweredError("h1", "the connection was lost")
        return "done"

    async def ask():
        return await Links(fleet.dial, fleet.redial).ask(HostSpec("h1", "10.0.0.1"), order)

    assert run_virtually(ask()) == "done"
    assert asked[0].closed
    assert not asked[1].closed


def test_a_host_that_logs_us_in_for_ever_holds_up_the_others_for_so_long_only():
    fleet = ModelFleet(h2=[(300.0, "banner, then answers")])
    seen = run_virtually(fleet.look())
    assert seen.snapshot.hosts["h2"].silence is Silence.AGENT
    assert isinstance(seen.snapshot.hosts["h1"], Reachable)
    assert seen.snapshot.at == pytest.approx(40.0)


def test_a_witness_is_waited_for_as_long_as_its_questions_may_take():
    fleet = ModelFleet(h2=[(2.0, Silence.SILENT)] * 3)
    fleet.witness_takes_s = 4.9
    seen = run_virtually(fleet.look())
    assert {answer.said for answer in seen.answers} == {Said.NO}


def test_what_was_said_of_a_host_that_answered_after_all_is_forgotten():
    """Else it would speak against that host when it falls silent later in the run, and nobody can be asked."""
    about = [
        Answer(Question(name, "h1", "10.0.0.9", 22, "banner", reached_before=True), Said.NO) for name in ("h2", "h3")
    ]
    known = {"h3": Unreachable(Silence.SILENT, "silent", tries=3)}
    seen = run_virtually(ModelFleet().look(known=known, answers=tuple(about)))
    assert seen.answers == (about[1],)
