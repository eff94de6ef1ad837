"""Observe every host: three tries where it is silent, and what its peers say of it meanwhile.

It decides nothing: whom to ask is `plan.questions`, what the answers mean is `plan.verdicts`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetctl.engine.events import HostSeen
from fleetctl.engine.pauses import Pauses
from fleetctl.errors import FleetctlError, HostError
from fleetctl.model.host import HostSpec
from fleetctl.model.plan import Answer, Said
from fleetctl.model.snapshot import Observation, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.unreachable import UnreachableError
from fleetctl.plan.questions import WITNESSES, questions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.clock import Clock
    from fleetctl.engine.events import Tell
    from fleetctl.engine.links import HostLink, Links
    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Question

TRIES = 3
TRY_EVERY_S = 2.0  # DESIGN section 6: three tries, started two seconds apart
OBSERVE_LIMIT_S = 15.0  # one message there and back, on a host that swaps
SIGHT_LIMIT_S = 40.0  # for all of one host: a healthy one that is installed anew takes under ten
WITNESS_SLACK_S = 3.0  # beyond the longest of its questions, all of which it asks at once
LOOK_LIMIT_S = 60.0  # the slowest host and the witnesses together take less: longer means we were suspended
LOOKS_MAX = 3
STALL_S = 10.0  # a pause that ends all tries that are under way at once; a host that shows a banner has longer

TRIED_AGAIN = (Silence.JUMP, Silence.REFUSED, Silence.HUNG, Silence.SILENT)  # the most cautious first


@dataclass(frozen=True, slots=True)
class Seen:
    snapshot: Snapshot
    answers: tuple[Answer, ...]


@dataclass(slots=True)
class _Sight:
    """How far the look at one host has come."""

    host: HostSpec
    failures: list[UnreachableError] = field(default_factory=list)
    banner: bool = False
    observation: Observation | None = None

    def so_far(self) -> Observation | None:
        """What is known when the witnesses are asked; nothing of a host that is just logging us in."""
        if self.observation is not None:
            return self.observation
        if self.banner:
            return None
        if self.failures:
            return _unreachable(self.failures)
        return Unreachable(Silence.SILENT, "no answer yet", tries=0)


async def look(
    desired: Desired,
    memory: Memory,
    links: Links,
    clock: Clock,
    tell: Tell,
    *,
    known: Mapping[str, Unreachable],
    answers: tuple[Answer, ...] = (),
) -> Seen:
    """Every host of `desired` once; those in `known` failed three tries earlier in this run and are not tried again.

    `answers` are what witnesses said of them then; what was said of a host that answered all the same is forgotten.
    A look that was suspended midway is dropped and made again: the tries it cut short prove nothing.
    """
    kept = tuple(answer for answer in answers if answer.question.about in known)
    for _ in range(LOOKS_MAX):
        begun = clock.now()
        async with Pauses(clock) as pauses:
            seen = await _look_once(desired, memory, links, clock, tell, known)
            slept = pauses.longest_s() >= STALL_S
        if not slept and clock.now() - begun < LOOK_LIMIT_S:
            return Seen(seen.snapshot, kept + seen.answers)
    raise FleetctlError(
        f"this machine stood still for over {STALL_S:.0f} s while it looked at the hosts, or took over "
        f"{LOOK_LIMIT_S:.0f} s for it, {LOOKS_MAX} times in a row: nothing was decided on it",
        hint="is this machine being suspended, or starved of CPU? Try again when it is not.",
    )


async def _look_once(
    desired: Desired, memory: Memory, links: Links, clock: Clock, tell: Tell, known: Mapping[str, Unreachable]
) -> Seen:
    sights = [_Sight(host) for host in desired.hosts if host.name not in known]
    left = len(sights)
    all_seen = asyncio.Event()

    async def see(sight: _Sight) -> None:
        nonlocal left
        sight.observation = await _observe_in_time(sight, links)
        tell(HostSeen(sight.host.name, sight.observation))
        left -= 1
        if not left:
            all_seen.set()

    if not sights:
        all_seen.set()
    async with asyncio.TaskGroup() as group:
        for sight in sights:
            group.create_task(see(sight))
        said = group.create_task(_ask_witnesses(desired, memory, links, clock, sights, all_seen))
    seen = {sight.host.name: sight.observation for sight in sights if sight.observation is not None}
    missed = _not_asked_yet(questions(desired, Snapshot(clock.now(), seen), memory), said.result())
    answers = said.result() + await _put(missed, links)
    return Seen(Snapshot(clock.now(), {**known, **seen}), answers)


async def _observe_in_time(sight: _Sight, links: Links) -> Observation:
    """However slow it is, a host that lives holds up the others for so long only."""
    try:
        async with asyncio.timeout(SIGHT_LIMIT_S):
            return await _observe(sight, links)
    except TimeoutError:
        error = f"it shows an SSH banner, but gave no report in {SIGHT_LIMIT_S:.0f} s"
        return Unreachable(Silence.AGENT, error, tries=1, hint="is it overloaded, or does its disk hang?")


async def _observe(sight: _Sight, links: Links) -> Observation:
    """The host's report over the link of an earlier look, else over a fresh one: a link that died says nothing new."""
    before = links.living(sight.host.name)
    if before is not None and isinstance(seen := await _report(before), Reachable):
        return seen
    link = await _reach(sight, links)
    return _unreachable(sight.failures) if link is None else await _report(links.living(sight.host.name) or link)


async def _report(link: HostLink) -> Observation:
    try:
        async with asyncio.timeout(OBSERVE_LIMIT_S):
            return Reachable(await link.observe(), link.address)
    except HostError as error:
        return Unreachable(Silence.AGENT, error.reason, tries=1, hint=error.hint)
    except TimeoutError:
        return Unreachable(Silence.AGENT, f"its agent gave no report in {OBSERVE_LIMIT_S:.0f} s", tries=1)


async def _reach(sight: _Sight, links: Links) -> HostLink | None:
    """A link by one of three tries, or none. A further try starts on time, though an earlier one still waits."""

    def on_banner() -> None:
        sight.banner = True

    async def attempt(number: int) -> HostLink | None:
        await asyncio.sleep(number * TRY_EVERY_S)
        if sight.banner or _is_final(sight):
            return None  # it is answering an earlier try, or has said no
        try:
            return await links.open(sight.host, on_banner)
        except UnreachableError as failure:
            sight.banner = False
            sight.failures.append(failure)
            return None

    tries = [asyncio.create_task(attempt(number)) for number in range(TRIES)]
    try:
        for ended in asyncio.as_completed(tries):
            link = await ended
            if link is not None or _is_final(sight):
                return link
        return None
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


def _is_final(sight: _Sight) -> bool:
    """Whether trying again can't help: the host answered, and said no. A jump host that can't be passed may be back."""
    return any(failure.silence not in TRIED_AGAIN for failure in sight.failures)


def _unreachable(failures: list[UnreachableError]) -> Unreachable:
    """What the tries came to: where they differ, the most cautious layer speaks for all."""
    answered = [failure for failure in failures if failure.silence not in TRIED_AGAIN]
    worst = answered[0] if answered else min(failures, key=lambda failure: TRIED_AGAIN.index(failure.silence))
    return Unreachable(worst.silence, worst.reason, tries=len(failures), hint=worst.hint)


async def _ask_witnesses(
    desired: Desired, memory: Memory, links: Links, clock: Clock, sights: list[_Sight], all_seen: asyncio.Event
) -> tuple[Answer, ...]:
    """Asked when the second try starts, with what is known then; not at all where every host answered before."""
    try:
        async with asyncio.timeout(TRY_EVERY_S):
            await all_seen.wait()
    except TimeoutError:
        pass  # some host gave no answer yet
    seen = {sight.host.name: sight.so_far() for sight in sights}
    so_far = {name: observation for name, observation in seen.items() if observation is not None}
    return await _put(questions(desired, Snapshot(clock.now(), so_far), memory), links)


def _not_asked_yet(wanted: tuple[Question, ...], answers: tuple[Answer, ...]) -> tuple[Question, ...]:
    """What is left to ask once every host was seen: a witness may have been slower than the second try.

    Nothing about a host that as many witnesses as are needed were asked about then.
    """
    asked = {(answer.question.about, answer.question.witness) for answer in answers}
    knowing = {(answer.question.about, answer.question.witness) for answer in answers if answer.question.reached_before}
    heard = Counter(about for about, _ in knowing)
    return tuple(
        question
        for question in wanted
        if heard[question.about] < WITNESSES and (question.about, question.witness) not in asked
    )


async def _put(asked: tuple[Question, ...], links: Links) -> tuple[Answer, ...]:
    by_witness = {question.witness: [q for q in asked if q.witness == question.witness] for question in asked}
    answers = await asyncio.gather(*(_ask(name, tuple(some), links) for name, some in sorted(by_witness.items())))
    return tuple(itertools.chain.from_iterable(answers))


async def _ask(witness: str, asked: tuple[Question, ...], links: Links) -> tuple[Answer, ...]:
    link = links.living(witness)
    if link is None:
        return tuple(Answer(question, Said.NOTHING, "its link was lost") for question in asked)
    try:
        async with asyncio.timeout(max(question.timeout_s for question in asked) + WITNESS_SLACK_S):
            return await link.probe(asked)
    except (HostError, TimeoutError) as error:
        return tuple(Answer(question, Said.NOTHING, str(error)) for question in asked)
